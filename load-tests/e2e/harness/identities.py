"""Identity for tests that are about something else: a provider of API keys, by which anybody can be anybody."""

import hashlib
import json

from .gateway import Gateway

HEADER = "X-Api-Key"


def key_of(actor: str) -> str:
    return f"the-key-of-{actor}"


def as_actor(actor: str) -> dict[str, str]:
    """The header by which a request is that actor's."""
    return {HEADER: key_of(actor)}


def keys_file(groups_of: dict[str, list[str]]) -> str:
    """A file of API keys: each actor, and its groups."""
    keys = [
        {"actor": actor, "sha256": hashlib.sha256(key_of(actor).encode()).hexdigest()}
        | ({"groups": groups} if groups else {})
        for actor, groups in groups_of.items()
    ]
    return json.dumps({"keys": keys}, indent=1)


def knows(gateway: Gateway, groups_of: dict[str, list[str]], name: str = "partners") -> None:
    """Gives the gateway a provider `name` that knows these actors."""
    (gateway.directory / f"{name}.yaml").write_text(keys_file(groups_of))
    provider = {"api_key": {"header": HEADER.lower(), "file": f"{name}.yaml"}}
    gateway.config.setdefault("identity", {})[name] = provider
