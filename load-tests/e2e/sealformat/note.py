"""C2SP signed notes and tlog checkpoints, with Ed25519 keys (c2sp.org/signed-note, c2sp.org/tlog-checkpoint)."""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ED25519 = b"\x01"


class NoteError(Exception):
    """A key or a note that does not follow the specification, or a signature that does not hold."""


def key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


@dataclass(frozen=True)
class Verifier:
    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        # The name cannot hold a plus sign; base64 can.
        name, hex_id, encoded = text.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        if raw[:1] != ED25519 or len(raw) != 33:
            raise NoteError(f"not an Ed25519 verifier key: {text}")
        verifier = cls(name, raw[1:])
        if verifier.id.hex() != hex_id:
            raise NoteError(f"key id {hex_id} does not match the key, which has {verifier.id.hex()}")
        return verifier

    @property
    def id(self) -> bytes:
        return key_id(self.name, self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    def check(self, text: bytes, signature: bytes) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature as wrong:
            raise NoteError(f"the signature of {self.name}+{self.id.hex()} does not hold") from wrong


@dataclass(frozen=True)
class Signer:
    name: str
    seed: bytes

    @classmethod
    def generate(cls, name: str) -> "Signer":
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> "Signer":
        label, _, rest = text.strip().partition("+")
        algorithm, _, rest = rest.partition("+")
        if (label, algorithm) != ("PRIVATE", "KEY"):
            raise NoteError("not a private key")
        name, _, encoded = rest.split("+", 2)
        return cls(name, base64.b64decode(encoded, validate=True)[1:])

    @property
    def verifier(self) -> Verifier:
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return Verifier(self.name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def __str__(self) -> str:
        return f"PRIVATE+KEY+{self.name}+{self.verifier.id.hex()}+{base64.b64encode(ED25519 + self.seed).decode()}"

    def sign(self, text: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(text)


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    def signed(self, signer: Signer, claimed_id: bytes | None = None) -> bytes:
        """The note. A forger may claim another key's id."""
        return signature_line(self.text(), signer.name, claimed_id or signer.verifier.id, signer.sign(self.text()))

    @classmethod
    def open(cls, note: bytes, verifier: Verifier) -> "Checkpoint":
        """Parses strictly, by encoding again, and verifies the one signature."""
        text, separator, signatures = note.partition(b"\n\n")
        lines = text.decode().split("\n")
        if not separator or len(lines) != 3:
            raise NoteError(f"a checkpoint has three lines, this one {len(lines)}")
        checkpoint = cls(lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True))
        name, _, encoded = signatures.decode().removeprefix("— ").rstrip("\n").partition(" ")
        blob = base64.b64decode(encoded, validate=True)
        if signature_line(checkpoint.text(), name, blob[:4], blob[4:]) != note:
            raise NoteError("the note is not what its own content encodes to")
        if (name, blob[:4]) != (verifier.name, verifier.id):
            raise NoteError(f"signed by {name}+{blob[:4].hex()}, expected {verifier.name}+{verifier.id.hex()}")
        verifier.check(checkpoint.text(), blob[4:])
        return checkpoint


def signature_line(text: bytes, name: str, claimed_id: bytes, signature: bytes) -> bytes:
    return text + f"\n— {name} {base64.b64encode(claimed_id + signature).decode()}\n".encode()
