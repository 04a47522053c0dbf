"""Finding records: by every filter, in a store and in a gateway's own directory, with exit codes for scripts."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from harness.binaries import binary, sealaudit
from sealformat.records import completed, start, stop
from sealformat.writer import LogWriter

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NAMES = ("audit.test/gw-1", "audit.test/gw-2")


def request(number: int) -> dict:
    """Every second is /users, every third a POST, every fourth a 404, every fifth from another network."""
    record = completed(
        f"/users/{number}" if number % 2 else f"/orders/{number}/items",
        method="GET" if number % 3 else "POST",
        status=200 if number % 4 else 404,
        route="users" if number % 2 else "orders",
        ip="10.1.2.3" if number % 5 else "203.0.113.9",
    )
    if number == 7:
        record["trace_id"] = TRACE
    return record


class Store:
    """Two logs of thirty requests each, a minute apart, in segments of ten."""

    def __init__(self, directory):
        self.path = directory / "store"
        self.requests: dict[str, list[dict]] = {}
        for shift, name in enumerate(NAMES):
            writer = LogWriter(name, now=BEGIN + timedelta(days=shift), step=timedelta(minutes=1))
            self.requests[name] = [request(number) for number in range(30)]
            writer.segment([start(writer.signer.verifier.id.hex())])
            for begin in range(0, 30, 10):
                writer.segment(self.requests[name][begin : begin + 10], lines_per_frame=4)
            writer.segment([stop(30)])
            writer.write(self.path)

    @property
    def all(self) -> list[dict]:
        return [record for name in NAMES for record in self.requests[name]]


@pytest.fixture(scope="module")
def store(module_directory) -> Iterator[Store]:
    yield Store(module_directory)


def ids(records) -> set[str]:
    return {record["request_id"] for record in records if "request_id" in record}


FILTERS = {
    "--status 404": lambda record: record["response"]["status"] == 404,
    "--status 4xx": lambda record: record["response"]["status"] // 100 == 4,
    "--status 2xx --method POST": lambda record: (
        record["response"]["status"] == 200 and record["request"]["method"] == "POST"
    ),
    "--method POST --method GET": lambda record: True,
    "--route users": lambda record: record["route"] == "users",
    "--path /users/*": lambda record: record["request"]["path"].startswith("/users/"),
    "--path /orders/*/items": lambda record: record["request"]["path"].endswith("/items"),
    "--source 203.0.113.0/24": lambda record: record["source"]["ip"].startswith("203."),
    "--source 203.0.113.9": lambda record: record["source"]["ip"].startswith("203."),
    "--source 0.0.0.0/0 --route orders": lambda record: record["route"] == "orders",
    f"--trace-id {TRACE}": lambda record: record.get("trace_id") == TRACE,
    "--kind completed": lambda record: True,
}


@pytest.mark.parametrize("words", FILTERS)
def test_a_filter_finds_exactly_what_it_names(store, words):
    outcome = sealaudit("search", store.path, *words.split(" "), "--limit", 1000, "--format", "ndjson").expect(0)
    assert ids(outcome.rows) == ids(filter(FILTERS[words], store.all)), outcome


def test_one_log_of_two_can_be_searched(store):
    outcome = sealaudit("search", store.path, "--log", NAMES[1], "--kind", "completed", "--limit", 1000).expect(0)
    assert ids(outcome.rows) == ids(store.requests[NAMES[1]])


def test_times_bound_a_search(store):
    since, until = BEGIN + timedelta(minutes=8), BEGIN + timedelta(minutes=15)
    outcome = sealaudit(
        "search", store.path, "--since", since.isoformat(), "--until", until.isoformat(), "--limit", 1000
    ).expect(0)
    assert outcome.rows
    moments = [datetime.fromisoformat(row["ts"]) for row in outcome.rows]
    assert min(moments) >= since and max(moments) <= until
    day = (BEGIN + timedelta(days=1)).date()
    outcome = sealaudit("search", store.path, "--since", day, "--kind", "completed", "--limit", 1000).expect(0)
    assert ids(outcome.rows) == ids(store.requests[NAMES[1]])


def test_a_request_id_finds_its_record_and_no_other(store):
    wanted = store.requests[NAMES[0]][13]["request_id"]
    outcome = sealaudit("search", store.path, "--request-id", wanted).expect(0)
    assert [row["request_id"] for row in outcome.rows] == [wanted]
    outcome = sealaudit("show", store.path, wanted).expect(0)
    assert wanted in outcome.out


def test_a_record_can_be_shown_by_its_place(store):
    outcome = sealaudit("show", store.path, f"{NAMES[0]}#2").expect(0)
    assert '"seq":2' in outcome.out.replace(" ", ""), outcome


def test_a_limit_is_kept(store):
    assert len(sealaudit("search", store.path, "--limit", 3).expect(0).rows) == 3


def test_a_table_is_for_people(store):
    outcome = sealaudit("search", store.path, "--status", "404", "--format", "table").expect(0)
    assert "/users" in outcome.out or "/orders" in outcome.out
    assert not outcome.out.lstrip().startswith("{")


def test_tail_gives_the_last_records(store):
    outcome = sealaudit("tail", store.path, "-n", 2, "--log", NAMES[0], "--kind", "completed").expect(0)
    assert [row["request_id"] for row in outcome.rows] == [
        record["request_id"] for record in store.requests[NAMES[0]][-2:]
    ]


def test_logs_lists_every_log(store):
    rows = sealaudit("logs", store.path, "--format", "ndjson").expect(0).rows
    assert (
        [row["log"] for row in rows] == list(NAMES)
        if "log" in rows[0]
        else [row["name"] for row in rows] == list(NAMES)
    )
    assert [row["records"] for row in rows] == [30 + 5 + 2, 30 + 5 + 2]


@pytest.mark.parametrize(
    "words",
    [
        "search {store} --status 999",
        "search {store} --path /nothing",
        "show {store} 0199c3f2-7a60-7000-8000-00000000cafe",
        "tail {store} --route nobody",
    ],
)
def test_nothing_found_is_exit_1(store, words):
    outcome = sealaudit(*words.format(store=store.path).split(" ")).expect(1)
    assert outcome.out == "" or "999" not in outcome.out


@pytest.mark.parametrize(
    "words",
    [
        "search /nonexistent-store",
        "search {store} --status abc",
        "search {store} --source 300.1.1.1",
        "search {store} --since yesterday-ish",
        "search {store} --no-such-filter",
        "show {store}",
        "verify {store}",
        "verify {store} --keys /nonexistent-keys",
        "verify /nonexistent-store --keys {store}",
        "frobnicate {store}",
    ],
)
def test_what_cannot_be_done_is_exit_2_with_a_word_on_why(store, words):
    outcome = sealaudit(*words.format(store=store.path).split(" ")).expect(2)
    assert outcome.err.strip() and "panicked" not in outcome.err, outcome


def test_a_reader_that_has_enough_is_no_error(store):
    command = (
        f"{binary('sealaudit')} search {store.path} --limit 1000 --format ndjson | head -n 1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    line, code = done.stdout.splitlines()
    assert line.startswith("{") and code == "0" and done.stderr == "", done


def test_a_search_costs_nothing_on_a_store_that_is_not_there_yet(directory):
    (directory / "empty").mkdir()
    sealaudit("search", directory / "empty").expect(1)


def test_a_record_is_found_in_the_data_directory_before_it_is_sealed(gateway):
    gateway.start()
    request_id = gateway.ask("/fresh/1").get("x-request-id")
    gateway.record(request_id)
    for place in (gateway.directory, gateway.spool):
        (row,) = sealaudit("search", place, "--request-id", request_id, "--format", "ndjson").expect(0).rows
        assert row["unsealed"] is True, row
        shown = sealaudit("search", place, "--request-id", request_id, "--format", "table").expect(0)
        assert "unsealed" in shown.out, shown
    gateway.stop()
    (row,) = sealaudit("search", gateway.directory, "--request-id", request_id).expect(0).rows
    assert "unsealed" not in row, row
    (row,) = sealaudit("search", f"file://{gateway.store}", "--request-id", request_id).expect(0).rows
    assert "unsealed" not in row, row


def test_tail_follows_a_running_gateway(gateway):
    gateway.start()
    follower = subprocess.Popen(
        [binary("sealaudit"), "tail", gateway.directory, "-f", "--path", "/followed/*"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        request_id = gateway.ask("/followed/1").get("x-request-id")
        assert request_id in follower.stdout.readline()
    finally:
        follower.kill()
        follower.wait()
    gateway.stop()
