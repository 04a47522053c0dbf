"""JSON Web Tokens (RFC 7515, RFC 7519), made by hand: the wrong ones, which no library agrees to make, as well."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

ISSUER, AUDIENCE = "https://id.test", "api"
# A header or a set of claims: as a mapping, or as the very text or bytes.
Part = dict | str | bytes


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Part) -> str:
    if isinstance(value, dict):
        value = json.dumps(value, separators=(",", ":"))
    return encoded(value.encode() if isinstance(value, str) else value)


def claims(subject: str = "alice", **more) -> dict:
    """What a good token says; None leaves a claim out."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600} | more
    return {name: value for name, value in said.items() if value is not None}


def unsigned(header: Part, body: Part, signature: bytes = b"") -> str:
    return f"{part(header)}.{part(body)}.{encoded(signature)}"


def signed_by_secret(header: Part, body: Part, secret: bytes) -> str:
    """HS256, whatever the header says."""
    text = f"{part(header)}.{part(body)}"
    return f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


class TokenKey:
    """A key that signs tokens. `sign` signs whatever it is given."""

    def __init__(self, kid: str | None, algorithm: str = "ES256"):
        self.kid, self.algorithm = kid, algorithm
        match algorithm:
            case "ES256":
                self.private = ec.generate_private_key(ec.SECP256R1())
            case "RS256":
                self.private = rsa.generate_private_key(65537, 2048)
            case "EdDSA":
                self.private = ed25519.Ed25519PrivateKey.generate()
            case _:
                raise ValueError(algorithm)

    def token(self, subject: str = "alice", **more) -> str:
        """A token that is good, but for what `more` changes of its claims."""
        return self.sign(claims(subject, **more))

    def sign(self, body: Part, header: Part | None = None) -> str:
        text = f"{part(self.header if header is None else header)}.{part(body)}"
        return f"{text}.{encoded(self._signature(text.encode()))}"

    @property
    def header(self) -> dict:
        return {"alg": self.algorithm, "typ": "JWT"} | ({"kid": self.kid} if self.kid is not None else {})

    @property
    def jwk(self) -> dict:
        """The public half (RFC 7517)."""
        known = {"use": "sig", "alg": self.algorithm} | ({"kid": self.kid} if self.kid is not None else {})
        public = self.private.public_key()
        match self.algorithm:
            case "ES256":
                numbers = public.public_numbers()
                x, y = (encoded(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
                return known | {"kty": "EC", "crv": "P-256", "x": x, "y": y}
            case "RS256":
                numbers = public.public_numbers()
                n, e = (encoded(n.to_bytes((n.bit_length() + 7) // 8, "big")) for n in (numbers.n, numbers.e))
                return known | {"kty": "RSA", "n": n, "e": e}
        return known | {"kty": "OKP", "crv": "Ed25519", "x": encoded(public.public_bytes_raw())}

    @property
    def private_jwk_member(self) -> str:
        """What a key set must not have: the secret half, as the member `d` of an EC key."""
        return encoded(self.private.private_numbers().private_value.to_bytes(32, "big"))

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def public_der(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def _signature(self, text: bytes) -> bytes:
        match self.algorithm:
            case "ES256":
                r, s = utils.decode_dss_signature(self.private.sign(text, ec.ECDSA(hashes.SHA256())))
                return r.to_bytes(32, "big") + s.to_bytes(32, "big")
            case "RS256":
                return self.private.sign(text, padding.PKCS1v15(), hashes.SHA256())
        return self.private.sign(text)


def key_set(keys: Iterable[TokenKey]) -> dict:
    return {"keys": [key.jwk for key in keys]}


def bearer(token: str) -> dict[str, str]:
    """The header that brings it."""
    return {"Authorization": f"Bearer {token}"}
