//! Why nobody vouches for a request: constant words, and never anything that was presented.

/// Why a provider does not vouch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Nothing was presented to any provider.
    CredentialsMissing,
    /// A header that holds a credential came more than once.
    CredentialsAmbiguous,
    /// It is no token in one reading: not a compact JWS, not JSON, a member twice, an extension that is not understood.
    TokenMalformed,
    /// The token is longer than any that is read.
    TokenTooLarge,
    /// Its algorithm is not accepted, or not the key's.
    TokenAlgorithm,
    /// There is no such key.
    TokenKeyUnknown,
    /// The signature is not the key's.
    TokenSignature,
    /// It is past its `exp`.
    TokenExpired,
    /// It is before its `nbf`.
    TokenNotYetValid,
    /// It is another issuer's.
    TokenIssuer,
    /// It is for somebody else.
    TokenAudience,
    /// A claim is missing, of another type, or beyond what may be told of anybody.
    TokenClaims,
    /// No such key is known.
    ApiKeyUnknown,
    /// The key is past its `not_after`.
    ApiKeyExpired,
    /// The client's certificate does not hold the identity that is asked for.
    CertificateIdentity,
    /// Identity headers from a peer that has not proven itself.
    EdgeUnproven,
    /// Identity headers of a proxy that has proven itself, with what may not be told of anybody.
    EdgeIdentity,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Refusal; 17] = [
        Refusal::CredentialsMissing,
        Refusal::CredentialsAmbiguous,
        Refusal::TokenMalformed,
        Refusal::TokenTooLarge,
        Refusal::TokenAlgorithm,
        Refusal::TokenKeyUnknown,
        Refusal::TokenSignature,
        Refusal::TokenExpired,
        Refusal::TokenNotYetValid,
        Refusal::TokenIssuer,
        Refusal::TokenAudience,
        Refusal::TokenClaims,
        Refusal::ApiKeyUnknown,
        Refusal::ApiKeyExpired,
        Refusal::CertificateIdentity,
        Refusal::EdgeUnproven,
        Refusal::EdgeIdentity,
    ];

    /// The word in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::CredentialsMissing => "credentials_missing",
            Refusal::CredentialsAmbiguous => "credentials_ambiguous",
            Refusal::TokenMalformed => "token_malformed",
            Refusal::TokenTooLarge => "token_too_large",
            Refusal::TokenAlgorithm => "token_algorithm",
            Refusal::TokenKeyUnknown => "token_key_unknown",
            Refusal::TokenSignature => "token_signature",
            Refusal::TokenExpired => "token_expired",
            Refusal::TokenNotYetValid => "token_not_yet_valid",
            Refusal::TokenIssuer => "token_issuer",
            Refusal::TokenAudience => "token_audience",
            Refusal::TokenClaims => "token_claims",
            Refusal::ApiKeyUnknown => "api_key_unknown",
            Refusal::ApiKeyExpired => "api_key_expired",
            Refusal::CertificateIdentity => "certificate_identity",
            Refusal::EdgeUnproven => "edge_unproven",
            Refusal::EdgeIdentity => "edge_identity",
        }
    }

    /// The same for people: without a quote in it, so that it can stand in a challenge.
    pub const fn explanation(self) -> &'static str {
        match self {
            Refusal::CredentialsMissing => "the request has no credentials that this route takes",
            Refusal::CredentialsAmbiguous => "a header that holds credentials came more than once",
            Refusal::TokenMalformed => "the token is malformed",
            Refusal::TokenTooLarge => "the token is too large",
            Refusal::TokenAlgorithm => "the algorithm of the token is not accepted",
            Refusal::TokenKeyUnknown => "the key of the token is not known",
            Refusal::TokenSignature => "the signature of the token is wrong",
            Refusal::TokenExpired => "the token has expired",
            Refusal::TokenNotYetValid => "the token is not valid yet",
            Refusal::TokenIssuer => "the token is of another issuer",
            Refusal::TokenAudience => "the token is for another audience",
            Refusal::TokenClaims => "a claim of the token is missing or cannot be used",
            Refusal::ApiKeyUnknown => "the key is not known",
            Refusal::ApiKeyExpired => "the key has expired",
            Refusal::CertificateIdentity => {
                "the client certificate does not hold an identity that is accepted"
            }
            Refusal::EdgeUnproven => "identity headers are not taken from this peer",
            Refusal::EdgeIdentity => "the identity headers cannot be used",
        }
    }

    /// Whether it is about a token, so that RFC 6750 has a code for it.
    pub const fn is_of_a_token(self) -> bool {
        matches!(
            self,
            Refusal::TokenMalformed
                | Refusal::TokenTooLarge
                | Refusal::TokenAlgorithm
                | Refusal::TokenKeyUnknown
                | Refusal::TokenSignature
                | Refusal::TokenExpired
                | Refusal::TokenNotYetValid
                | Refusal::TokenIssuer
                | Refusal::TokenAudience
                | Refusal::TokenClaims
        )
    }
}
