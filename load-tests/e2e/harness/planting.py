"""Secrets that a test plants, one for each place, and the search for them in everything that was written."""

import base64
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes

from sealformat.segment import SegmentError, read_segment


@dataclass
class Planted:
    """What was planted where. Each place has a secret of its own, so that what is found tells where it comes from."""

    secrets: dict[str, bytes] = field(default_factory=dict)

    def at(self, place: str) -> str:
        """A new secret for this place, or the one that is there."""
        return self.keep(place, self.secrets.get(place) or f"s3cr{secrets.token_hex(12)}t".encode()).decode()

    def keep(self, place: str, secret: bytes) -> bytes:
        """One that is there already, such as a private key."""
        self.secrets[place] = secret
        return secret

    def found_in(self, texts: dict[str, bytes]) -> list[str]:
        """Where a secret was written, in any spelling."""
        return [
            f"{place} is in {where}, as {form}: …{excerpt(text, spelling)}…"
            for where, text in texts.items()
            for place, secret in self.secrets.items()
            for form, spelling in spellings(secret).items()
            if spelling in text
        ]


def spellings(secret: bytes) -> dict[str, bytes]:
    """How programs write bytes."""
    encoded = base64.b64encode(secret).rstrip(b"=")
    return {
        "it is": secret,
        # Of the last group, the bits that depend on what follows are left out.
        "base64": encoded[: len(secret) // 3 * 4],
        "base64 for URLs": base64.urlsafe_b64encode(secret)[: len(secret) // 3 * 4],
        "hexadecimal": secret.hex().encode(),
        "hexadecimal in capitals": secret.hex().upper().encode(),
        "numbers": ", ".join(map(str, secret)).encode(),
        "escapes": "".join(f"%{byte:02x}" for byte in secret).encode(),
        "capitals": secret.upper(),
    }


def excerpt(text: bytes, spelling: bytes) -> str:
    at = text.index(spelling)
    return text[max(0, at - 160) : at + len(spelling) + 20].decode(errors="replace").replace("\n", "⏎")


def written_below(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, as it is and unpacked, and once more with percent escapes undone."""
    texts = {}
    for path in directory.rglob("*"):
        if not path.is_file():
            continue
        texts[str(path)] = path.read_bytes()
        try:
            texts[f"{path} (unpacked)"] = b"\n".join(read_segment(texts[str(path)]).lines)
        except SegmentError:
            continue
    texts |= {f"{where} (unescaped)": unquote_to_bytes(text) for where, text in texts.items() if b"%" in text}
    return texts
