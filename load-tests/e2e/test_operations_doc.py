"""docs/operations.md is true: its commands run, and every metric, word, message and link in it exists."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import everything
from harness.binaries import ROOT, binary
from harness.conditions import wait_until
from harness.gateway import Gateway, route

PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
RULES = (ROOT / "conf" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
SOURCES = [*ROOT.glob("audit-writer/src/**/*.rs"), *ROOT.glob("gateway/src/**/*.rs")]
# Where the messages of a start that fails come from.
START_ERRORS = ["audit-writer/src/recover/error.rs", "audit-writer/src/spool.rs", "audit-writer/src/key_file.rs"]

BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
METRIC = re.compile(r'\b(sealgate_\w+)(?:\{(\w+)="(\w+)"\})?')
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
ELLIPSIS = "…"


def prose() -> str:
    """The page without its blocks."""
    return re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """What stands in backticks."""
    return [content.strip() for _, content in SPAN.findall(text)]


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def literals() -> set[str]:
    """Every string of the programs, with `…` for what is put into it."""
    found = set()
    for path in SOURCES:
        for literal in LITERAL.findall(path.read_text(encoding="utf-8")):
            found.add(shown(literal))
    return found


def shown(literal: str) -> str:
    """A string of the source as it is printed."""
    joined = re.sub(r"\\\n\s*", "", literal).replace('\\"', '"')
    return re.sub(r"\{[^}]*\}", ELLIPSIS, joined)


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, [route("all")])
    with everything.identity(gateway):
        gateway.start()
        gateway.ask("/orders/1")
        gateway.ask(everything.PATH)
        yield gateway
        gateway.kill()


def test_every_metric_is_exported_with_the_label_that_is_named(gateway):
    text = gateway.admin("/metrics").body.decode()
    named = METRIC.findall(TEXT)
    assert len({name for name, _, _ in named}) > 8
    for name, label, value in named:
        assert f"# TYPE {name} " in text, name
        if label:
            assert re.search(rf'^{name}\{{[^}}]*{label}="{value}"', text, re.MULTILINE), f'{name}{{{label}="{value}"}}'


def test_every_word_in_backticks_is_one_of_the_programs(gateway):
    known = {word for literal in literals() for word in re.findall(r"\w+", literal)}
    for schema in (ROOT / "conf" / "schema.json", ROOT / "audit-writer" / "schema" / "record.v1.json"):
        known.update(re.findall(r"\w+", schema.read_text(encoding="utf-8")))
    known.update(re.findall(r"\w+", gateway.admin("/status").body.decode()))
    words = {
        part
        for span in spans(prose())
        if re.fullmatch(r"[a-z][a-z0-9_]*(\[\])?(\.[a-z][a-z0-9_]*)*", span)
        for part in re.split(r"[.\[\]]+", span)
    }
    assert {"ring_full", "spool_full", "writer_failed", "split_log", "crash"} <= words
    assert {word for word in words if not word.startswith("sealgate_")} - known - {"dmesg"} == set()


def test_every_log_line_is_written_by_the_programs():
    """A quoted line stands behind its level, or is a sentence."""
    text = prose().replace(section("The gateway does not start"), "")
    quoted = set(re.findall(r"\b(?:ERROR|WARN|INFO)\s+`([^`]+)`", text))
    quoted.update(span for span in re.findall(r"`([^`]+)`", text) if span.count(" ") > 5 and "=" not in span)
    assert len(quoted) > 10
    assert {line.replace("\n", " ") for line in quoted} - literals() == set()


def test_every_message_of_a_start_that_fails_is_explained_and_no_other():
    """The page shows how a message begins."""
    messages = set()
    for path in START_ERRORS:
        text = (ROOT / path).read_text(encoding="utf-8")
        messages.update(shown(message) for message in re.findall(r'#\[error\(\s*"((?:[^"\\]|\\.)*)"', text))
    assert len(messages) > 20
    rows = [row.split(" | ")[1] for row in section("The gateway does not start").splitlines() if row.startswith("| 7")]
    explained = {span for row in rows for span in spans(row)}
    assert [message for message in messages if not message.startswith(tuple(explained))] == []
    known = messages | literals()
    assert [span for span in explained if not any(message.startswith(span) for message in known)] == []


def test_every_start_that_fails_has_the_exit_code_that_is_told():
    text = (ROOT / START_ERRORS[0]).read_text(encoding="utf-8")
    errors = re.findall(r'#\[error\(\s*"((?:[^"\\]|\\.)*)".*?\)\]\s*(\w+)', text, re.DOTALL)
    arms = text.partition("match self {")[2].partition("\n        }")[0]
    default = re.search(r"_ => (\d+)", arms).group(1)
    codes = {
        name: code
        for arm, code in re.findall(r"((?:RecoverError::[^=]*))=> (\d+)", arms)
        for name in re.findall(r"RecoverError::(\w+)", arm)
    }
    assert {"75", "78"} <= set(codes.values())
    told = {}
    for row in section("The gateway does not start").splitlines():
        if row.startswith("| 7"):
            code, message, _ = row.strip("| ").split(" | ")
            told.update(dict.fromkeys(spans(message), code))
    for message, name in errors:
        beginning = max((span for span in told if shown(message).startswith(span)), key=len)
        assert (name, told[beginning]) == (name, codes.get(name, default)), beginning


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        linked = (PAGE.parent / path).resolve() if path else PAGE
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text(encoding="utf-8")), target


def test_every_alert_is_explained_and_leads_to_its_section():
    alerts = re.findall(r"^ +- alert: (\w+)$", RULES, re.MULTILINE)
    runbooks = re.findall(r"^ +runbook: docs/operations\.md#(\S+)$", RULES, re.MULTILINE)
    rows = re.findall(r"^\| `(Sealgate\w+)` .*\(#([^)]+)\) \|$", section("Alerts"), re.MULTILINE)
    assert list(zip(alerts, runbooks, strict=True)) == rows
    assert set(runbooks) <= anchors(TEXT)
    assert set(re.findall(r"`(Sealgate\w+)`", TEXT)) <= set(alerts)


def test_every_command_works(gateway):
    assert len(BLOCKS) > 6
    folders = [str(binary(name).parent) for name in ("sealgate", "sealaudit")]
    environment = os.environ | {
        "PATH": ":".join([*folders, os.environ["PATH"]]),
        "CONFIG": str(gateway.config_file),
        "SPOOL": str(gateway.spool),
        "STORE": str(gateway.store),
        "KEYS": str(gateway.keys),
        "ADMIN": f"http://127.0.0.1:{gateway.admin_port}",
    }
    gateway.stop()
    for block in BLOCKS:
        if "sealgate run" in block:
            # It goes on while the reader types elsewhere.
            script = block.rstrip() + f" > {gateway.log} 2>&1 &"
            run(script, environment)
            wait_until(lambda: answers(gateway), "the gateway that the page starts is ready")
            run('kill -TERM "$(cat "$SPOOL/lock")"; until flock -n "$SPOOL/lock" true; do sleep 0.1; done', environment)
            continue
        if gateway.process.poll() is not None:
            gateway.start()
        run(block, environment)
        if "kill -TERM" in block:
            gateway.wait(0)
    assert (Path(environment["SPOOL"] + ".new") / "state").is_file()


def run(script: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}:\n{script}\n{done.stdout}\n{done.stderr}"


def answers(gateway: Gateway) -> bool:
    try:
        return json.loads(gateway.admin("/readyz").body)["ready"]
    except OSError:
        return False
