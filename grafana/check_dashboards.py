#!/usr/bin/env python3
"""Holds the dashboards against Grafana's own types, a PromQL parser and the rules of the house.

Grafana ignores what it does not understand, and a broken expression is an empty panel: both are found here instead.
Exit code 0: all good; 1: findings, one a line.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import promql_parser
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

DASHBOARDS = Path(__file__).parent / "dashboards"

# What Grafana puts in place of its variables. Longest names first: $__range is the beginning of $__range_s.
VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h", "$instance": ".*"}


def panels(dashboard: dict) -> Iterator[dict]:
    """Every panel that shows data, those of collapsed rows included."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def expression(target: dict, variables: dict[str, str] = VARIABLES) -> str:
    """The target's PromQL with Grafana's variables replaced."""
    expr = target["expr"]
    for name, value in variables.items():
        expr = expr.replace(name, value)
    return expr


def lost_keys(original: object, known: object, where: str = "") -> Iterator[str]:
    """Places in `original` that did not survive the way through Grafana's types: keys that Grafana does not know."""
    if isinstance(original, dict) and isinstance(known, dict):
        for key, value in original.items():
            if key not in known:
                yield f"{where}.{key}"
            else:
                yield from lost_keys(value, known[key], f"{where}.{key}")
    elif isinstance(original, list) and isinstance(known, list):
        for index, (value, other) in enumerate(zip(original, known)):
            yield from lost_keys(value, other, f"{where}[{index}]")


def problems_of_types(dashboard: dict) -> Iterator[str]:
    known = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))
    for place in lost_keys(dashboard, known):
        yield f"Grafana knows no key at {place}"


def problems_of_layout(dashboard: dict) -> Iterator[str]:
    seen_ids: set[int] = set()
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        title, grid = panel["title"], panel["gridPos"]
        if panel["id"] in seen_ids:
            yield f"panel `{title}`: id {panel['id']} is used twice"
        seen_ids.add(panel["id"])
        if grid["x"] + grid["w"] > 24:
            yield f"panel `{title}` reaches beyond the 24 columns"
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                if (other := taken.setdefault((x, y), title)) != title:
                    yield f"panel `{title}` lies on `{other}`"
                    break


def problems_of_panels(dashboard: dict) -> Iterator[str]:
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in panels(dashboard):
        title = panel["title"]
        if not panel.get("description"):
            yield f"panel `{title}` does not say what it shows"
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"panel `{title}` has no unit"
        if panel["datasource"]["uid"] != "${datasource}":
            yield f"panel `{title}` is tied to one data source"
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", re.sub(r'"\$\{1\}xx"', "", target["expr"])))
            for name in used - variables - {name.strip("$") for name in VARIABLES}:
                yield f"panel `{title}` uses the unknown variable ${name}"
            try:
                promql_parser.parse(expression(target))
            except ValueError as error:
                yield f"panel `{title}`: {error}: {target['expr']}"


def problems(path: Path) -> list[str]:
    """Everything that is wrong with the dashboard in `path`."""
    register_default_plugins()
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    checks = (problems_of_types, problems_of_layout, problems_of_panels)
    return [problem for check in checks for problem in check(dashboard)]


def main() -> int:
    found = 0
    paths = sorted(DASHBOARDS.glob("*.json"))
    for path in paths:
        for problem in problems(path):
            print(f"grafana/dashboards/{path.name}: {problem}")
            found += 1
    print(f"dashboards: {len(paths)} checked, {found} findings")
    return 1 if found or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
