"""The subset of JSON schemas that OpenAI takes with `strict`, by which the model keeps to them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The words of the subset that "Structured outputs" documents. A schema with any other is sent without `strict`.
_WORDS = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "definitions",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
    }
)
_MAX_LEVELS = 10
_MAX_PROPERTIES = 5_000


def can_be_strict(schema: Mapping[str, Any]) -> bool:
    """Return whether the schema may be sent with `strict`.

    Its root has to be an object, every object in it to require all of its properties and to allow no other, and it may
    use no word outside of the documented subset.
    """
    if schema.get("type") != "object" or "anyOf" in schema:
        return False
    try:
        return _count_properties(schema, _MAX_LEVELS) <= _MAX_PROPERTIES
    except _NotStrictError:
        return False


class _NotStrictError(Exception):
    """A part of a schema does not fit the subset."""


def _count_properties(schema: Any, levels: int) -> int:
    """Return how many properties lie in the schema; raises `_NotStrictError`."""
    if not isinstance(schema, Mapping) or levels < 0 or not schema.keys() <= _WORDS:
        raise _NotStrictError
    count = 0
    is_object = schema.get("type") == "object" or (isinstance(schema.get("type"), list) and "object" in schema["type"])
    if is_object or "properties" in schema:
        properties = schema.get("properties", {})
        if not isinstance(properties, Mapping) or schema.get("additionalProperties") is not False:
            raise _NotStrictError
        if not isinstance(required := schema.get("required", []), list) or set(required) != set(properties):
            raise _NotStrictError
        count += len(properties) + sum(_count_properties(part, levels - 1) for part in properties.values())
    for name in ("$defs", "definitions"):
        if isinstance(parts := schema.get(name, {}), Mapping):
            count += sum(_count_properties(part, levels - 1) for part in parts.values())
    if isinstance(options := schema.get("anyOf", []), list):
        count += sum(_count_properties(part, levels - 1) for part in options)
    return count + (_count_properties(schema["items"], levels - 1) if "items" in schema else 0)
