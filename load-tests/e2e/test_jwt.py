"""Tokens: what a key of the set signed for this gateway passes, and each way of forging one is refused by its name."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from harness.conditions import wait_until
from harness.decisions import refused, served
from harness.gateway import Gateway, route
from harness.key_set_server import KeySetServer
from harness.tokens import (
    AUDIENCE,
    ISSUER,
    TokenKey,
    bearer,
    claims,
    encoded,
    key_set,
    part,
    signed_by_secret,
    unsigned,
)

ES, RS, ED = TokenKey("es-1"), TokenKey("rs-1", "RS256"), TokenKey("ed-1", "EdDSA")
STRANGER = TokenKey("es-1")
HEADER = {"alg": "ES256", "typ": "JWT", "kid": "es-1"}
# Of the order of the curve's group: r and s beyond it, and the zeros of CVE-2022-21449, which some verifiers take.
ZEROS = bytes(64)


def now(seconds: int) -> int:
    return int(time.time()) + seconds


def es(**more) -> str:
    return ES.token(**more)


def spliced(of: str, signature: str) -> str:
    """The first token with the second one's signature."""
    return f"{of.rpartition('.')[0]}.{signature.rpartition('.')[2]}"


def in_place(token: str, index: int, text: str) -> str:
    parts = token.split(".")
    parts[index] = text
    return ".".join(parts)


def last_bits_set(token: str) -> str:
    """The same signature in another spelling: 64 bytes leave four bits of the last character unused."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def der_signature(token: str) -> str:
    """An ECDSA signature as X.509 writes it; JWS has r and s side by side (RFC 7518, section 3.4)."""
    text = token.rpartition(".")[0]
    return f"{text}.{encoded(ES.private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))}"


def with_text(body: dict, insert: str) -> str:
    """The claims as text, with more of it in front: what a mapping cannot hold."""
    return "{" + insert + json.dumps(body)[1:]


@dataclass(frozen=True)
class Forged:
    """A token that must not pass, and the reason that is right for it."""

    name: str
    make: Callable[[], str]
    word: str
    fields: Callable[[str], dict] = field(default=bearer)


FORGED = [
    # Algorithms.
    Forged("alg none", lambda: unsigned({"alg": "none"}, claims()), "token_algorithm"),
    Forged("alg none, and the key's id", lambda: unsigned(HEADER | {"alg": "none"}, claims()), "token_algorithm"),
    Forged("alg nOnE", lambda: unsigned(HEADER | {"alg": "nOnE"}, claims()), "token_algorithm"),
    Forged("alg none on a good signature", lambda: ES.sign(claims(), HEADER | {"alg": "none"}), "token_algorithm"),
    Forged(
        "HS256 with the public key as PEM",
        lambda: signed_by_secret(RS.header | {"alg": "HS256"}, claims(), RS.public_pem),
        "token_algorithm",
    ),
    Forged(
        "HS256 with the public key as DER",
        lambda: signed_by_secret(ES.header | {"alg": "HS256"}, claims(), ES.public_der),
        "token_algorithm",
    ),
    Forged("an unknown algorithm", lambda: ES.sign(claims(), HEADER | {"alg": "XY256"}), "token_algorithm"),
    Forged(
        "an algorithm that is not in the list",
        lambda: RS.sign(claims(), RS.header | {"alg": "RS384"}),
        "token_algorithm",
    ),
    Forged(
        "another algorithm than the key's", lambda: RS.sign(claims(), RS.header | {"kid": "es-1"}), "token_algorithm"
    ),
    Forged("the algorithm in small letters", lambda: ES.sign(claims(), HEADER | {"alg": "es256"}), "token_algorithm"),
    # Signatures.
    Forged("a stranger's signature under a known id", lambda: STRANGER.token(), "token_signature"),
    Forged("no signature", lambda: unsigned(HEADER, claims()), "token_signature"),
    Forged("a signature of zeros", lambda: unsigned(HEADER, claims(), ZEROS), "token_signature"),
    Forged("another token's signature", lambda: spliced(es(subject="root"), es()), "token_signature"),
    Forged("claims changed after signing", lambda: in_place(es(), 1, part(claims("root"))), "token_signature"),
    Forged("a header changed after signing", lambda: in_place(es(), 0, part(HEADER | {"typ": "x"})), "token_signature"),
    Forged("an ECDSA signature in DER", lambda: der_signature(es()), "token_signature"),
    # Keys.
    Forged("an unknown key", lambda: TokenKey("es-2").token(), "token_key_unknown"),
    Forged(
        "a kid that climbs",
        lambda: STRANGER.sign(claims(), HEADER | {"kid": "../../../../dev/null"}),
        "token_key_unknown",
    ),
    Forged(
        "a kid that is a file",
        lambda: STRANGER.sign(claims(), HEADER | {"kid": "file:///etc/passwd"}),
        "token_key_unknown",
    ),
    Forged(
        "a kid with SQL", lambda: STRANGER.sign(claims(), HEADER | {"kid": "x' UNION SELECT 'k"}), "token_key_unknown"
    ),
    Forged("an empty kid", lambda: STRANGER.sign(claims(), HEADER | {"kid": ""}), "token_key_unknown"),
    Forged("a kid in capitals", lambda: ES.sign(claims(), HEADER | {"kid": "ES-1"}), "token_key_unknown"),
    Forged("a kid that is a number", lambda: ES.sign(claims(), HEADER | {"kid": 1}), "token_malformed"),
    Forged(
        "a key that the token brings",
        lambda: STRANGER.sign(claims(), HEADER | {"jwk": STRANGER.jwk}),
        "token_signature",
    ),
    # Time.
    Forged("expired", lambda: es(exp=now(-40)), "token_expired"),
    Forged("expired long ago", lambda: es(exp=0), "token_expired"),
    Forged("no expiry", lambda: es(exp=None), "token_claims"),
    Forged("an expiry that is a text", lambda: es(exp=str(now(600))), "token_claims"),
    Forged(
        "an expiry that is no number", lambda: ES.sign(with_text(claims(exp=None), '"exp": 1e999, ')), "token_malformed"
    ),
    Forged("not yet valid", lambda: es(nbf=now(90)), "token_not_yet_valid"),
    Forged("a begin that is a text", lambda: es(nbf="0"), "token_claims"),
    # For whom, and from whom.
    Forged("another audience", lambda: es(aud="billing"), "token_audience"),
    Forged("other audiences", lambda: es(aud=["billing", f"{AUDIENCE}x"]), "token_audience"),
    Forged("no audience", lambda: es(aud=None), "token_audience"),
    Forged("another issuer", lambda: es(iss="https://evil.test"), "token_issuer"),
    Forged("an issuer with a slash more", lambda: es(iss=f"{ISSUER}/"), "token_issuer"),
    Forged("issuers in a list", lambda: es(iss=[ISSUER, "https://evil.test"]), "token_claims"),
    Forged("no issuer", lambda: es(iss=None), "token_issuer"),
    # Who.
    Forged("no subject", lambda: es(sub=None), "token_claims"),
    Forged("a subject that is a number", lambda: es(sub=7), "token_claims"),
    Forged("an empty subject", lambda: es(sub=""), "token_claims"),
    Forged("a subject that is too long to record", lambda: es(sub="a" * 257), "token_claims"),
    Forged("a subject with a line break", lambda: es(sub="alice\r\nX-Sealgate-Groups: ops"), "token_claims"),
    Forged("a subject with NUL", lambda: es(sub="alice\x00"), "token_claims"),
    Forged("a group with a line break", lambda: es(groups=["a\nb"]), "token_claims"),
    Forged("groups that are numbers", lambda: es(groups=[1]), "token_claims"),
    Forged("more groups than are recorded", lambda: es(groups=[f"g{n}" for n in range(65)]), "token_claims"),
    Forged("a group that is too long to record", lambda: es(groups=["g" * 129]), "token_claims"),
    # Form.
    Forged("a subject twice", lambda: ES.sign(with_text(claims(), '"sub": "root", ')), "token_malformed"),
    Forged(
        "a subject twice, once escaped",
        lambda: ES.sign(with_text(claims(), '"s\\u0075b": "root", ')),
        "token_malformed",
    ),
    Forged("an expiry twice", lambda: ES.sign(with_text(claims(exp=0), f'"exp": {now(600)}, ')), "token_malformed"),
    Forged("an algorithm twice", lambda: ES.sign(claims(), with_text(HEADER, '"alg": "none", ')), "token_malformed"),
    Forged(
        "a member twice, deep inside",
        lambda: ES.sign(with_text(claims(), '"x": {"a": 1, "a": 2}, ')),
        "token_malformed",
    ),
    Forged(
        "an extension that must be understood",
        lambda: ES.sign(claims(), HEADER | {"crit": ["x"], "x": 1}),
        "token_malformed",
    ),
    Forged("claims that are a list", lambda: ES.sign("[]"), "token_malformed"),
    Forged("claims that are no JSON", lambda: ES.sign("sub=alice"), "token_malformed"),
    Forged("claims with more behind", lambda: ES.sign(json.dumps(claims()) + "{}"), "token_malformed"),
    Forged("claims that are deep", lambda: ES.sign('{"a":' + "[" * 5000), "token_malformed"),
    Forged("claims that are not UTF-8", lambda: ES.sign(b'{"sub":"\xff"}'), "token_malformed"),
    Forged("claims with padding", lambda: in_place(es(), 1, part(claims()) + "="), "token_signature"),
    Forged("a header that is no JSON", lambda: in_place(es(), 0, encoded(b"alg")), "token_malformed"),
    Forged("two parts", lambda: es().rpartition(".")[0], "token_malformed"),
    Forged("four parts", lambda: es() + ".x", "token_malformed"),
    Forged("five parts, as an encrypted one", lambda: "a.b.c.d.e", "token_malformed"),
    Forged("empty parts", lambda: "..", "token_malformed"),
    Forged("padding", lambda: es() + "=", "token_signature"),
    Forged("the signature in another spelling", lambda: last_bits_set(es()), "token_signature"),
    Forged("the other base64 alphabet", lambda: in_place(es(), 2, "+/" * 43), "token_signature"),
    Forged("JSON serialisation", lambda: json.dumps({"payload": part(claims()), "signatures": []}), "token_malformed"),
    Forged("larger than any token", lambda: es(filler="x" * 16384), "token_too_large"),
    Forged("100 KiB", lambda: es(filler="x" * 102400), "token_too_large"),
    Forged("100 KiB of dots", lambda: "." * 102400, "token_too_large"),
    # How it is brought.
    Forged("another scheme", es, "credentials_missing", lambda token: {"Authorization": f"Basic {token}"}),
    Forged("no header", es, "credentials_missing", lambda token: {}),
    Forged("a cookie", es, "credentials_missing", lambda token: {"Cookie": f"access_token={token}"}),
    Forged("another header", es, "credentials_missing", lambda token: {"X-Authorization": f"Bearer {token}"}),
    Forged(
        "twice",
        es,
        "credentials_ambiguous",
        lambda token: [("Authorization", f"Bearer {token}"), ("authorization", "Bearer x")],
    ),
    Forged("twice the same", es, "credentials_ambiguous", lambda token: [*bearer(token).items()] * 2),
    Forged("two in one", es, "token_malformed", lambda token: {"Authorization": f"Bearer {token}, Bearer {token}"}),
]


def corp(config: dict) -> None:
    jwt = {
        "issuer": ISSUER,
        "audience": [AUDIENCE, "other"],
        "jwks": {"file": "jwks.json"},
        "algorithms": ["ES256", "RS256", "EdDSA"],
        "leeway": "20s",
        "groups_claim": "groups",
    }
    config["identity"] = {"corp": {"jwt": jwt}, "strict": {"jwt": jwt | {"leeway": "0s", "algorithms": ["ES256"]}}}
    config["listen"][0]["limits"] = {"header_bytes": "256KiB"}


ROUTES = [
    route("corp", auth={"any_of": ["corp"]}),
    route("strict", match={"path_prefix": "/strict"}, auth={"any_of": ["strict"]}),
]


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, ROUTES, corp)
    (gateway.directory / "jwks.json").write_text(json.dumps(key_set([ES, RS, ED])))
    gateway.start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()


@pytest.mark.parametrize("forged", FORGED, ids=lambda forged: forged.name)
def test_a_forged_token_is_refused_and_a_good_one_beside_it_passes(gateway, module_upstream, forged: Forged):
    good = es(subject="bob")
    served(gateway, module_upstream, gateway.ask("/orders/1", fields=bearer(good)))
    response = gateway.ask("/orders/1", fields=forged.fields(forged.make()))
    refused(gateway, module_upstream, response, 401, forged.word)
    record, _ = served(gateway, module_upstream, gateway.ask("/orders/1", fields=bearer(good)))
    assert record["actor"]["id"] == "bob"


def plain(subject: str = "alice") -> dict:
    return {"id": subject, "scheme": "jwt", "provider": "corp"}


@pytest.mark.parametrize(
    ("make", "actor"),
    [
        (lambda: ES.token(), plain()),
        (lambda: RS.token(), plain()),
        (lambda: ED.token(), plain()),
        (lambda: es(groups=["ops", "dev"]), plain() | {"groups": ["ops", "dev"]}),
        (lambda: es(groups=[]), plain()),
        (lambda: es(aud=["billing", AUDIENCE]), plain()),
        (lambda: es(exp=now(-5)), plain()),
        (lambda: es(nbf=now(5)), plain()),
        (lambda: es(exp=now(600) + 0.5), plain()),
        (lambda: es(subject="a" * 256), plain("a" * 256)),
        (lambda: es(subject="älice@übung.test"), plain("älice@übung.test")),
        (lambda: es(groups=[f"g{n}" for n in range(64)]), plain() | {"groups": [f"g{n}" for n in range(64)]}),
        (lambda: es(filler="x" * 8000), plain()),
        (lambda: ES.sign(claims(), {"alg": "ES256", "kid": "es-1"}), plain()),
        (lambda: ES.sign(claims(), {"alg": "ES256"}), plain()),
        (lambda: ES.sign(claims(), HEADER | {"jku": "https://evil.test/jwks", "x5u": "https://evil.test/x"}), plain()),
    ],
    ids=[
        "ES256",
        "RS256",
        "EdDSA",
        "groups",
        "an empty list of groups",
        "one audience of several",
        "expired within the leeway",
        "not yet valid within the leeway",
        "an expiry with a fraction",
        "the longest subject",
        "a subject beyond ASCII",
        "the most groups",
        "8000 bytes of other claims",
        "no typ",
        "no kid, and one key of the algorithm",
        "addresses of keys, which nobody asks",
    ],
)
def test_what_a_known_key_signed_for_this_gateway_passes(gateway, module_upstream, make, actor):
    for _ in range(2):  # The second time it is known already.
        record, seen = served(gateway, module_upstream, gateway.ask("/orders/1", fields=bearer(make())))
        assert record["actor"] == actor
        assert record["decision"] == {"outcome": "allow"}
        assert seen.message.all("x-sealgate-provider") == ["corp"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_schemes_case_does_not_matter(gateway, module_upstream, scheme):
    served(gateway, module_upstream, gateway.ask("/orders/1", fields={"Authorization": f"{scheme} {es()}"}))


def test_an_algorithm_is_good_only_where_the_provider_lists_it(gateway, module_upstream):
    token = bearer(RS.token())
    served(gateway, module_upstream, gateway.ask("/orders/1", fields=token))
    refused(gateway, module_upstream, gateway.ask("/strict/1", fields=token), 401, "token_algorithm")
    served(gateway, module_upstream, gateway.ask("/strict/1", fields=bearer(es())))


def test_a_known_token_expires_all_the_same(gateway, module_upstream):
    token = bearer(es(exp=now(2)))
    record, _ = served(gateway, module_upstream, gateway.ask("/strict/1", fields=token))
    assert record["actor"]["provider"] == "strict"
    late = wait_until(
        lambda: (response := gateway.ask("/strict/1", fields=token)).status != 200 and response, "the token expires"
    )
    refused(gateway, module_upstream, late, 401, "token_expired")
    served(gateway, module_upstream, gateway.ask("/strict/1", fields=bearer(es())))


def test_what_is_known_of_a_token_holds_for_all_of_its_bytes(gateway, module_upstream):
    """The first is cached; one that shares its beginning, or its signature, is another token."""
    token = es()
    for _ in range(3):
        served(gateway, module_upstream, gateway.ask("/orders/1", fields=bearer(token)))
    for changed in (spliced(token, STRANGER.token()), spliced(es(subject="root"), token)):
        refused(gateway, module_upstream, gateway.ask("/orders/1", fields=bearer(changed)), 401, "token_signature")


def test_a_token_in_the_query_is_none(gateway, module_upstream):
    response = gateway.ask(f"/orders/1?access_token={es()}")
    refused(gateway, module_upstream, response, 401, "credentials_missing")


def test_an_address_in_a_token_is_never_asked(gateway, module_upstream):
    evil = KeySetServer([STRANGER])
    try:
        for member in ("jku", "x5u"):
            token = STRANGER.sign(claims(), HEADER | {"kid": "es-9", member: evil.url})
            response = gateway.ask("/orders/1", fields=bearer(token))
            refused(gateway, module_upstream, response, 401, "token_key_unknown")
        assert evil.requests == 0
    finally:
        evil.close()


def test_a_head_beyond_the_listeners_limit_is_refused_before_anybody_reads_the_token(directory, upstream):
    gateway = Gateway(directory / "gateway", {"main": upstream.address}, ROUTES, corp)
    del gateway.config["listen"][0]["limits"]
    (gateway.directory / "jwks.json").write_text(json.dumps(key_set([ES])))
    gateway.start()
    with gateway.connect() as client:
        assert client.ask("/orders/1", fields=bearer(es(filler="x" * 102400))).status == 431
    record = gateway.record_from(client)
    assert (record["kind"], record["reason"]) == ("rejected", "header_too_large")
    served(gateway, upstream, gateway.ask("/orders/1", fields=bearer(es())))
    gateway.stop()
