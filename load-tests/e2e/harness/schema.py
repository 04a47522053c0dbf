"""Walks a closed JSON Schema beside a record, to find every way of breaking it."""

import copy
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

Path = tuple[str | int, ...]


class RecordSchema:
    def __init__(self, schema: dict):
        Draft202012Validator.check_schema(schema)
        self.schema = schema
        self._validator = Draft202012Validator(schema)
        self._variants = [
            (variant, Draft202012Validator(variant | {"$defs": schema.get("$defs", {})})) for variant in schema["oneOf"]
        ]

    def flaws(self, record: dict) -> list[str]:
        return [error.message for error in self._validator.iter_errors(record)]

    def variant(self, record: dict) -> dict:
        """The one kind that the record is of."""
        (found,) = [variant for variant, validator in self._variants if validator.is_valid(record)]
        return self.resolved(found)

    def fields(self, record: dict) -> set[str]:
        """All that a record of this kind may have."""
        return set(self.variant(record)["properties"])

    def broken(self, record: dict) -> Iterator[tuple[str, dict]]:
        """Copies of a valid record, each without one required field or with one field more."""
        for path, schema in self._objects(self.variant(record), record, ()):
            place = ".".join(map(str, path)) or "the record"
            for name in schema.get("required", []):
                yield f"{place} without {name}", edited(record, path, lambda part, name=name: part.pop(name))
            yield f"{place} with one field more", edited(record, path, lambda part: part.update(unheard_of=1))

    def _objects(self, schema: dict, value: Any, path: Path) -> Iterator[tuple[Path, dict]]:
        """Every object in `value` that has fixed fields, with its schema; maps by name (headers) have none."""
        schema = self.resolved(schema)
        if isinstance(value, dict):
            fields = schema.get("properties")
            if fields:
                yield path, schema
            for name, part in value.items():
                inner = (fields or {}).get(name, schema.get("additionalProperties"))
                if isinstance(inner, dict):
                    yield from self._objects(inner, part, (*path, name))
        elif isinstance(value, list) and isinstance(schema.get("items"), dict):
            for place, part in enumerate(value):
                yield from self._objects(schema["items"], part, (*path, place))

    def resolved(self, schema: dict) -> dict:
        """What it refers to."""
        while "$ref" in schema or "anyOf" in schema:
            if "$ref" in schema:
                schema = self.schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
            else:
                schema = next(option for option in schema["anyOf"] if option.get("type") != "null")
        return schema


def edited(record: dict, path: Path, change) -> dict:
    changed = copy.deepcopy(record)
    part: Any = changed
    for step in path:
        part = part[step]
    change(part)
    return changed
