"""A gateway with all that identity has: so that each of its metrics has series."""

from collections.abc import Iterator
from contextlib import contextmanager

from .certificates import Authority
from .gateway import Gateway, route
from .identities import HEADER, knows
from .key_set_server import KeySetServer
from .ports import LOOPBACK, free_port
from .tokens import TokenKey

PATH = "/identified"
# Requests to it, one of each outcome.
CREDENTIALS = ({}, {HEADER: "of nobody"}, {HEADER: "the-key-of-alice"}, {HEADER: "the-key-of-mallory"})


@contextmanager
def identity(gateway: Gateway) -> Iterator[None]:
    """Before its start: a listener and an upstream with TLS, key sets by URL, API keys, and a route with a rule."""
    authority = Authority(gateway.directory / "tls")
    server, client = authority.issue("server", ["api.test"]), authority.client("gateway")
    keys = KeySetServer([TokenKey("one")])
    tls = {"certificates": [server.configured]}
    gateway.config["listen"].append({"name": "tls", "address": f"{LOOPBACK}:{free_port()}", "tls": tls})
    gateway.config["upstreams"]["proven"] = {
        "endpoints": {"static": [f"{LOOPBACK}:{free_port()}"]},
        "tls": {"sni": "api.test", "ca": str(authority.cert), "client": client.configured},
    }
    knows(gateway, {"alice": [], "mallory": []})
    token = {"issuer": "https://id.test", "audience": ["api"], "algorithms": ["ES256"], "jwks": {"url": keys.url}}
    gateway.config["identity"]["corp"] = {"jwt": token}
    gateway.config["routes"].append(
        route(
            "identified",
            match={"path_prefix": PATH},
            auth={"any_of": ["corp", "partners"]},
            allow=[{"name": "alice", "actors": ["alice"]}],
        )
    )
    yield
    keys.close()
