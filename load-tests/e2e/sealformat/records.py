"""Records of every kind, as version 1 writes them, for stores that no gateway wrote."""

import secrets
import time

CONFIG = "c0ffee00"


def uuid7(milliseconds: int | None = None) -> str:
    """RFC 9562 section 5.7."""
    moment = int(time.time() * 1000) if milliseconds is None else milliseconds
    value = (moment & (1 << 48) - 1) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def source(ip: str = "127.0.0.1", port: int = 40000) -> dict:
    return {"ip": ip, "port": port}


def completed(
    path: str = "/orders/1",
    *,
    status: int = 200,
    method: str = "GET",
    route: str = "orders",
    request_id: str | None = None,
    ip: str = "127.0.0.1",
    **more,
) -> dict:
    return {
        "kind": "completed",
        "request_id": request_id or uuid7(),
        "listener": "edge",
        "source": source(ip),
        "request": {"method": method, "scheme": "http", "host": "api.test", "path": path, "http": "1.1", "bytes": 0},
        "route": route,
        "upstream": {
            "name": "orders",
            "addr": "127.0.0.1:9",
            "attempts": 1,
            "reused": False,
            "connect_us": 7,
            "ttfb_us": 812,
        },
        "response": {"status": status, "bytes": 12},
        "end": "ok",
        "duration_us": 1034,
        "config": CONFIG,
    } | more


def rejected(reason: str = "bad_request") -> dict:
    return {
        "kind": "rejected",
        "listener": "edge",
        "reason": reason,
        "source": source(),
        "bytes": 17,
        "response": {"status": 400, "bytes": 0},
        "duration_us": 98,
    }


def gap(lost: int | None, reason: str, begin: str, end: str) -> dict:
    return {"kind": "gap", "lost": lost, "reason": reason, "from": begin, "to": end}


def clock() -> dict:
    return {"synchronized": True, "max_error_us": 500}


def start(key_id: str, *, unclean: bool = False, last_durable_seq: int | None = None) -> dict:
    record = {
        "kind": "lifecycle",
        "event": "start",
        "version": "0.1.0",
        "config": CONFIG,
        "key_id": key_id,
        "unclean": unclean,
    }
    if last_durable_seq is not None:
        record["last_durable_seq"] = last_durable_seq
    return record | {"heartbeat_interval_ms": 300_000, "clock": clock()}


def counters(durable: int, lost: int = 0, refused: int = 0) -> dict:
    return {"captured": durable + lost, "durable": durable, "queued": 0, "lost": lost, "refused": refused}


def heartbeat(durable: int, lost: int = 0) -> dict:
    return {"kind": "lifecycle", "event": "heartbeat", "counters": counters(durable, lost), "clock": clock()}


def stored(segment: int, sha256: str) -> dict:
    return {"kind": "lifecycle", "event": "stored", "segment": segment, "sha256": sha256}


def stop(durable: int, lost: int = 0) -> dict:
    return {"kind": "lifecycle", "event": "stop", "counters": counters(durable, lost)}
