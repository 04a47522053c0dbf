"""Small logs that the tests start from: right in every respect, until a test says otherwise."""

from .records import completed, gap, heartbeat, rejected, start, stop, stored
from .writer import LogWriter, timestamp


def ordinary_log(name: str = "audit.test/gw-1", requests: int = 3) -> LogWriter:
    """Three segments of one boot, with a start, a stop, and `stored` records that name the files."""
    writer = LogWriter(name)
    writer.segment(
        [start(writer.signer.verifier.id.hex()), *(completed(f"/orders/{n}") for n in range(requests))],
        lines_per_frame=2,
    )
    writer.segment(
        [
            stored(0, writer.last_sha256),
            *(completed(f"/users/{n}", status=404, route="users") for n in range(requests)),
        ],
        lines_per_frame=3,
    )
    writer.segment(
        [
            stored(1, writer.last_sha256),
            *(completed(f"/payments/{n}", method="POST") for n in range(requests)),
            stop(3 * requests),
        ]
    )
    return writer


def unclean_log(name: str = "audit.test/gw-1") -> LogWriter:
    """Two boots: the first was killed, and the second declares what may be lost."""
    writer = LogWriter(name, boot="00000001")
    key_id = writer.signer.verifier.id.hex()
    writer.segment([start(key_id), completed("/orders/1"), completed("/orders/2")])
    crashed, last = timestamp(writer.now), writer.tree.end - 1
    writer.boot = "00000002"
    begun = timestamp(writer.now + writer.step)
    again = start(key_id, unclean=True, last_durable_seq=last) | {"ts": begun}
    writer.segment(
        [
            again,
            gap(None, "crash", crashed, begun),
            stored(0, writer.last_sha256),
            completed("/orders/3"),
            stop(1),
        ]
    )
    return writer


def lossy_log(name: str = "audit.test/gw-1") -> LogWriter:
    """A gap of known size, rejected connections, and heartbeats whose counters add up."""
    writer = LogWriter(name)
    begin = timestamp(writer.now)
    records = [start(writer.signer.verifier.id.hex()), completed("/orders/1"), rejected(), heartbeat(2)]
    records += [
        gap(17, "ring_full", begin, timestamp(writer.now)),
        completed("/orders/2"),
        heartbeat(3, lost=17),
        stop(3, lost=17),
    ]
    writer.segment(records)
    return writer


def unicode_log(name: str = "audit.test/gw-1") -> LogWriter:
    """What JSON escapes, what it does not, and what people forget."""
    writer = LogWriter(name)
    paths = ["/größe", "/\u2028\u2029", "/\x7f\x1f\x01", '/"\\', "/😀", "/\b\f\n\r\t", "/\ufeff", "/ "]
    actors = [{"id": f"åse-{place}@example.org", "scheme": "jwt"} for place in range(len(paths))]
    requests = [
        completed(path, route=f"r{place}", actor=actor)
        for place, (path, actor) in enumerate(zip(paths, actors, strict=True))
    ]
    writer.segment([start(writer.signer.verifier.id.hex()), *requests, stop(len(requests))], lines_per_frame=1)
    return writer


def wide_log(name: str = "audit.test/gw-1", values: int = 1025) -> LogWriter:
    """More distinct routes than an index keeps."""
    writer = LogWriter(name)
    requests = [completed(f"/{n}", route=f"route-{n:04}") for n in range(values)]
    writer.segment([start(writer.signer.verifier.id.hex()), *requests, stop(values)])
    return writer


def lonely_log(name: str = "audit.test/gw-1", segments: int = 9) -> LogWriter:
    """Segments of one record beside their own first one."""
    writer = LogWriter(name)
    writer.segment([start(writer.signer.verifier.id.hex())])
    for number in range(segments - 2):
        writer.segment([completed(f"/orders/{number}")])
    writer.segment([stop(segments - 2)])
    return writer


def large_log(name: str = "audit.test/gw-1") -> LogWriter:
    """Records of the largest size, in frames of about a mebibyte."""
    writer = LogWriter(name)
    room = 65535 - 600
    requests = [completed("/" + "x" * room) for _ in range(40)]
    writer.segment([start(writer.signer.verifier.id.hex()), *requests, stop(len(requests))])
    return writer
