"""The schema of a tool's arguments, as every provider takes it: one that is refused costs the model all tools."""

from __future__ import annotations

from typing import Any

import pytest

from chat.tools.mcp_schemas import fit_schema

TEXT = {"type": "string"}
BY_ID = {"type": "object", "properties": {"kind": {"const": "id"}, "id": TEXT}, "required": ["kind", "id"]}
BY_NAME = {"type": "object", "properties": {"kind": {"const": "name"}, "name": TEXT}, "required": ["kind", "name"]}
KIND = {"anyOf": [{"const": "id"}, {"const": "name"}]}

SCHEMAS: dict[str, tuple[Any, dict[str, Any]]] = {
    "nothing": (None, {"type": "object", "properties": {}}),
    "an object without properties": ({"type": "object"}, {"type": "object", "properties": {}}),
    "empty objects as lists, at any depth": (
        {
            "type": "object",
            "properties": {"a": [], "b": {"type": "array", "items": {"type": "object", "properties": []}}},
            "$defs": [],
        },
        {
            "type": "object",
            "properties": {"a": {}, "b": {"type": "array", "items": {"type": "object", "properties": {}}}},
            "$defs": {},
        },
    ),
    "lists that are lists": (
        {"type": "object", "properties": {"a": {"enum": [], "default": []}}, "required": []},
        {"type": "object", "properties": {"a": {"enum": [], "default": []}}, "required": []},
    ),
    "one of several forms": (
        {"oneOf": [BY_ID, BY_NAME]},
        {"type": "object", "properties": {"kind": KIND, "id": TEXT, "name": TEXT}, "required": ["kind"]},
    ),
    "one of three forms": (
        {"anyOf": [BY_ID, BY_NAME, {"properties": {"kind": {"const": "x"}}}]},
        {
            "type": "object",
            "properties": {"kind": {"anyOf": [*KIND["anyOf"], {"const": "x"}]}, "id": TEXT, "name": TEXT},
        },
    ),
    "all of several forms": (
        {"properties": {"a": TEXT}, "required": ["a"], "allOf": [{"properties": {"b": TEXT}, "required": ["b"]}]},
        {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a", "b"]},
    ),
    "a choice of which arguments there have to be": (
        {
            "type": "object",
            "properties": {"a": TEXT, "b": TEXT},
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        {"type": "object", "properties": {"a": TEXT, "b": TEXT}},
    ),
    "forms that are defined elsewhere": (
        {"oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/gone"}], "$defs": {"A": BY_ID}},
        {"type": "object", "properties": BY_ID["properties"], "$defs": {"A": BY_ID}},
    ),
    "a list that does not say of what": (
        {
            "properties": {
                "a": {"type": "array"},
                "b": {"type": ["array", "null"]},
                "c": {"type": "array", "items": TEXT},
            }
        },
        {
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": {}},
                "b": {"type": ["array", "null"], "items": {}},
                "c": {"type": "array", "items": TEXT},
            },
        },
    ),
    "a form for each place of a list": (
        {
            "properties": {
                "a": {"type": "array", "items": [TEXT, {"type": "integer"}, TEXT], "additionalItems": False},
                "b": {"type": "array", "prefixItems": [TEXT, TEXT], "items": False, "maxItems": 2},
                "c": {"type": "array", "items": [{"type": "object", "properties": []}]},
            }
        },
        {
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": {"anyOf": [TEXT, {"type": "integer"}]}},
                "b": {"type": "array", "items": TEXT, "maxItems": 2},
                "c": {"type": "array", "items": {"type": "object", "properties": {}}},
            },
        },
    ),
    "limits and requirements of old": (
        {
            "properties": {
                "a": {
                    "type": "integer",
                    "minimum": 0,
                    "exclusiveMinimum": True,
                    "maximum": 9,
                    "exclusiveMaximum": False,
                },
                "b": {"type": "string", "required": True},
            }
        },
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9}, "b": TEXT},
        },
    ),
    "a choice within a property": (
        {"type": "object", "properties": {"a": {"oneOf": [BY_ID, BY_NAME]}}},
        {"type": "object", "properties": {"a": {"oneOf": [BY_ID, BY_NAME]}}},
    ),
}


@pytest.mark.parametrize(("schema", "fitted"), SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_is_an_object_with_all_of_its_properties(schema: Any, fitted: dict[str, Any]) -> None:
    assert fit_schema(schema) == fitted
