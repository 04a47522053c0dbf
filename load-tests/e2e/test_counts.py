"""Three counts that share no code: a stranger's engine over the segments, the load generator, the metrics."""

from collections import Counter

import duckdb

from harness.gateway import Gateway, route, total
from harness.load import Wrk
from harness.ports import LOOPBACK, free_port

PATHS = ["/up/", "/up/status/201/", "/up/status/404/", "/up/status/503/", "/up/bytes/900/", "/void/", "/down/"]
ROUTES = [
    route("up", match={"path_prefix": "/up"}, rewrite={"strip_prefix": "/up"}),
    route("down", "down", match={"path_prefix": "/down"}),
]
SQL = """
SELECT response.status AS status, count(*)
FROM read_json('{files}', format = 'newline_delimited', union_by_name = true, compression = 'zstd')
WHERE response IS NOT NULL
GROUP BY status
"""


def short_segments(config: dict) -> None:
    config["audit"]["segment"] = {"max_age": "1s"}


def test_duckdb_the_load_generator_and_the_metrics_count_the_same(directory, upstream):
    upstreams = {"main": upstream.address, "down": f"{LOOPBACK}:{free_port()}"}
    gateway = Gateway(directory / "gateway", upstreams, ROUTES, short_segments).start()
    try:
        generated = Wrk.run(gateway.port, directory / "wrk", 4, PATHS).counts
        samples = gateway.metrics()
        gateway.stop()
    finally:
        gateway.kill()
    files = f"{gateway.store}/**/*.ndjson.zst"
    recorded = Counter(dict(duckdb.sql(SQL.format(files=files)).fetchall()))
    metered = Counter({int(labels["code"]): int(value) for labels, value in by_code(samples) if value})
    assert len(generated) >= 4 and generated.total() > 1000
    assert recorded == generated
    assert metered == generated
    assert total(samples, "sealgate_audit_lost_total") == 0


def by_code(samples) -> list[tuple[dict, float]]:
    """The counter summed over routes and methods."""
    codes = {labels["code"] for labels, _ in samples["sealgate_http_requests_total"]}
    return [({"code": code}, total(samples, "sealgate_http_requests_total", code=code)) for code in codes]
