"""docs/identity.md is true: its commands print what it shows, its words are those of the programs, its links lead on."""

import os
import re
import subprocess

from harness.binaries import ROOT, binary
from harness.ports import free_port

PAGE = ROOT / "docs" / "identity.md"
TEXT = PAGE.read_text(encoding="utf-8")
SOURCE = ROOT / "gateway" / "src"
# What differs from run to run.
CHANGES = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PORTS = {"8443": str(free_port()), "3000": str(free_port())}


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def words(path: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, (SOURCE / path).read_text(encoding="utf-8")))


def test_every_word_of_a_refusal_is_explained_and_no_other():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| .+ \|$", section("What a refusal looks like"), re.MULTILINE)
    assert len(dict(map(reversed, rows))) == len(rows)
    told = {status: {word for code, word in rows if code == status} for status, _ in rows}
    assert told["401"] == words("identity/refusal.rs", r'Refusal::\w+ => "(\w+)"')
    assert told["502"] == words("upstream/fault.rs", r'"(upstream_\w+)"')
    others = {"403": {"denied"}, "503": {"identity_unavailable"}, "308": {"redirected_to_https"}}
    assert {status: told[status] for status in others} == others
    everything = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.rs"))
    assert [word for group in others.values() for word in group if f'"{word}"' not in everything] == []


def test_every_reason_of_a_failed_handshake_is_explained_and_no_other():
    rows = re.findall(r"^\| `(tls_\w+)` \| .+ \|$", section("What a refusal looks like"), re.MULTILINE)
    assert set(rows) == words("edge/rejection.rs", r'=> "(tls_\w+)"')


def test_every_link_leads_somewhere():
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        assert (PAGE.parent / path).exists() if path else anchor in anchors, target


def test_what_the_page_has_you_type_prints_what_it_shows(directory):
    blocks = re.findall(r"^```(sh|console)\n(.*?)^```$", section("Try it"), re.MULTILINE | re.DOTALL)
    script, shown = [], []
    for kind, block in blocks:
        if kind == "sh":
            script.append(block)
            continue
        for command, output in re.findall(r"^\$ (.+)\n((?:[^$].*\n)*)", block, re.MULTILINE):
            script.append(f"echo '#'; {patient(command)}\n")
            shown.append(output)
    assert len(shown) > 6
    text = "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n" + "".join(script)
    for port, free in PORTS.items():
        text = text.replace(f":{port}", f":{free}").replace(f" {port} ", f" {free} ")
    folders = [str(binary(name).parent) for name in ("sealgate", "sealaudit")]
    done = subprocess.run(
        ["bash", "-eu", "-c", text],
        cwd=directory,
        env=os.environ | {"PATH": ":".join([*folders, os.environ["PATH"]])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    logs = "".join(path.read_text(errors="replace") for path in directory.glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    printed = done.stdout.replace("\r", "").split("#\n")[1:]
    assert [alike(text) for text in printed] == [alike(text) for text in shown]


def patient(command: str) -> str:
    """The command; one that searches the log is tried until it finds: a record is there a sync after its answer."""
    if not command.startswith("sealaudit search"):
        return command
    return f'for try in $(seq 100); do found=$({command}) || true; [ -z "$found" ] || break; sleep 0.05; done; echo "$found"'


def alike(text: str) -> str:
    return "\n".join(line.rstrip() for line in CHANGES.sub("ID", text).splitlines())
