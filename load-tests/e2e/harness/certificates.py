"""Certificates of every kind that a gateway may be shown: good ones, and each with one thing wrong."""

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .files import replace

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
DAY = datetime.timedelta(days=1)
Days = tuple[float, float]
# When a certificate begins and ends to be valid, in days from now.
VALID: Days = (-1, 90)
EXPIRED: Days = (-90, -1)
NOT_YET_VALID: Days = (1, 90)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as files."""

    certificate: x509.Certificate
    cert: Path
    key: Path

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def secret(self) -> bytes:
        """The key itself: the number that nobody else knows."""
        private = serialization.load_pem_private_key(self.key.read_bytes(), None)
        return private.private_numbers().private_value.to_bytes(32, "big")

    @property
    def sha256(self) -> str:
        """Of its DER: what a record names it by."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def subject(self) -> str:
        """As RFC 4514 writes it."""
        return self.certificate.subject.rfc4514_string()

    @property
    def configured(self) -> dict[str, str]:
        """As a configuration names the pair."""
        return {"cert": str(self.cert), "key": str(self.key)}

    def replace_with(self, other: "Issued") -> None:
        """Puts another pair into these files, each by rename: never half of one can be read."""
        for mine, theirs in ((self.cert, other.cert), (self.key, other.key)):
            replace(mine, theirs.read_bytes())


class Authority:
    """A certificate authority in a directory. `issue` writes NAME.pem and NAME.key beside its own certificate."""

    def __init__(self, directory: Path, name: str = "ca"):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.name = directory, name
        self.cert = directory / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Test CA {name}")])
        builder = _builder(subject, subject, self._key.public_key(), VALID)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
        )
        self.certificate = builder.sign(self._key, hashes.SHA256())
        self.cert.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        names: Iterable[str] = (),
        purposes: Iterable[x509.ObjectIdentifier] = (SERVER,),
        valid: Days = VALID,
        organisation: str | None = None,
    ) -> Issued:
        """A certificate for these subject alternative names: DNS names, IP addresses, and URIs such as SPIFFE ids."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if organisation:
            attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
        builder = _builder(x509.Name(attributes), self.certificate.subject, key.public_key(), valid)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if alternatives := [_general_name(text) for text in names]:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        files = Issued(certificate, self.directory / f"{name}.pem", self.directory / f"{name}.key")
        files.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(_pem(key))
        files.key.chmod(0o600)
        return files

    def client(self, name: str, names: Iterable[str] = (), valid: Days = VALID, **more) -> Issued:
        """A client's certificate."""
        return self.issue(name, names, (CLIENT,), valid, **more)

    def trusted_by_client(self, client: Issued | None = None, alpn: Iterable[str] = ()) -> ssl.SSLContext:
        """What a client that trusts only this authority connects with."""
        context = ssl.create_default_context(cafile=str(self.cert))
        if client:
            context.load_cert_chain(client.cert, client.key)
        if protocols := list(alpn):
            context.set_alpn_protocols(protocols)
        return context


def serving(server: Issued, clients: Authority | None = None) -> ssl.SSLContext:
    """What a server serves with; with `clients` it takes no client whose certificate is not of that authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.cert, server.key)
    if clients:
        context.load_verify_locations(clients.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _builder(subject: x509.Name, issuer: x509.Name, key, valid: Days) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now + valid[0] * DAY).not_valid_after(now + valid[1] * DAY)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
