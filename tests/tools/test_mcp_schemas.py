"""The schema of a tool's arguments, as every provider takes it: one that is refused costs the model all tools."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.tools.mcp_schemas import fit_schema
from tests.support.any_json import ODD
from tests.support.examples import try_examples

TEXT: dict[str, Any] = {"type": "string"}
BY_ID: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"const": "id"}, "id": TEXT},
    "required": ["kind", "id"],
}
BY_NAME = {"type": "object", "properties": {"kind": {"const": "name"}, "name": TEXT}, "required": ["kind", "name"]}
KIND = {"anyOf": [{"const": "id"}, {"const": "name"}]}


def build_nested_lists(depth: int) -> dict[str, Any]:
    """Return a schema of lists within lists, with a form for each place and one for the rest."""
    schema = TEXT
    for _ in range(depth):
        schema = {"prefixItems": [schema, {"type": "number"}], "items": {"items": [schema]} if depth < 5 else TEXT}
    return {"properties": {"a": schema}}


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
    "choices that say no more than that an argument is there": (
        {
            "properties": {"a": TEXT, "b": TEXT},
            "anyOf": [{"properties": {"a": True}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}],
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
                "c": {"type": "array", "items": [{"type": "object", "properties": []}], "maxItems": 1},
                "d": {"type": "array", "prefixItems": [{"type": "number"}], "items": TEXT},
                "e": {"type": "array", "items": [TEXT], "additionalItems": {"type": "number"}},
                "f": {"type": "array", "prefixItems": [TEXT], "items": True},
                "g": {"type": "array", "items": [TEXT]},
                "h": {"type": "array", "prefixItems": [], "items": TEXT},
                "i": {"prefixItems": [TEXT, {"const": True}, {"const": 1}], "items": False},
            }
        },
        {
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": {"anyOf": [TEXT, {"type": "integer"}]}},
                "b": {"type": "array", "items": TEXT, "maxItems": 2},
                "c": {"type": "array", "items": {"type": "object", "properties": {}}, "maxItems": 1},
                "d": {"type": "array", "items": {"anyOf": [{"type": "number"}, TEXT]}},
                "e": {"type": "array", "items": {"anyOf": [TEXT, {"type": "number"}]}},
                "f": {"type": "array", "items": {}},
                "g": {"type": "array", "items": {}},
                "h": {"type": "array", "items": TEXT},
                "i": {"items": {"anyOf": [TEXT, {"const": True}, {"const": 1}]}},
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
    "a reference alone": (
        {"$ref": "#/definitions/A", "definitions": {"A": {"$ref": "#/definitions/B%20~1"}, "B /": BY_ID}},
        {**BY_ID, "definitions": {"A": {"$ref": "#/definitions/B%20~1"}, "B /": BY_ID}},
    ),
    "references that lead to themselves": (
        {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#"}], **BY_ID}}},
        {**BY_ID, "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#"}], **BY_ID}}},
    ),
    "choices with a part in common": (
        {
            "oneOf": [{"allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": TEXT}}]}, {"$ref": "#/$defs/A"}],
            "$defs": {"A": BY_ID},
        },
        {**BY_ID, "properties": BY_ID["properties"] | {"b": TEXT}, "$defs": {"A": BY_ID}},
    ),
    "choices that are none": (
        {
            "anyOf": [{"properties": {"x": {"anyOf": TEXT}}}, {"properties": {"x": TEXT}}],
            "oneOf": TEXT,
            "properties": {"a": None, "b": "string", "c": {"anyOf": []}, "d": {"anyOf": [TEXT, None]}},
            "required": [1, "a"],
        },
        {
            "type": "object",
            "properties": {"a": {}, "b": {}, "c": {}, "d": {"anyOf": [TEXT, {}]}, "x": TEXT},
            "required": ["a"],
        },
    ),
    "a schema that is too large": (
        {"type": "object", "properties": {"a": TEXT | {"description": "x" * 100_000}}, "required": ["a"]},
        {"type": "object", "properties": {}},
    ),
    "a choice within a property": (
        {"type": "object", "properties": {"a": {"oneOf": [BY_ID, BY_NAME]}}},
        {"type": "object", "properties": {"a": {"oneOf": [BY_ID, BY_NAME]}}},
    ),
}


@pytest.mark.parametrize(("schema", "fitted"), SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_is_an_object_with_all_of_its_properties(schema: Any, fitted: dict[str, Any]) -> None:
    assert fit_schema(schema) == fitted


NAMES = [f"name{number}" for number in range(100)]
LARGE: dict[str, Any] = {
    "choices that demand much": {"anyOf": [{"required": NAMES}] * 500},
    "choices that demand as much as is looked at": {"anyOf": [{"required": NAMES[:50]}] * 160},
    "choices that demand all of one that they share": {
        "anyOf": [{"allOf": [{"$ref": "#/$defs/A"}, {"title": str(number)}]} for number in range(1_500)],
        "$defs": {"A": {"required": [str(number) for number in range(2_000)]}},
    },
    "many forms of one property": {"anyOf": [{"properties": {"a": {"const": number}}} for number in range(2_000)]},
    "many places of a list": {"properties": {"a": {"prefixItems": [{"const": number} for number in range(5_000)]}}},
    "a long chain of references": {
        "$ref": "#/$defs/0",
        "$defs": {str(number): {"allOf": [{"$ref": f"#/$defs/{number + 1}"}]} for number in range(2_000)},
    },
    "choices that lead to all others": {
        "$ref": "#/$defs/0",
        "$defs": {
            str(number): {"anyOf": [{"$ref": f"#/$defs/{other}"} for other in range(40)]} for number in range(40)
        },
    },
    "lists within lists": build_nested_lists(80),
}


@pytest.mark.parametrize("schema", LARGE.values(), ids=LARGE)
def test_a_schema_is_fitted_in_no_time(schema: Any) -> None:
    start = time.process_time()
    fitted = fit_schema(schema)
    assert time.process_time() - start < 0.5  # 0.05 at most; the first was 16 s
    assert fitted["type"] == "object"


KEYWORDS = st.sampled_from(
    [
        "properties",
        "required",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "definitions",
        "items",
        "prefixItems",
        "additionalItems",
        "maxItems",
        "type",
        "exclusiveMinimum",
        "minimum",
    ]
)
REFERENCES = st.sampled_from(["#", "#/$defs/properties", "#/definitions/items", "#/properties", "#/const", "#/anyOf/0"])
ODD_SCHEMAS = st.recursive(
    ODD | REFERENCES | st.sampled_from(["object", "array", TEXT]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=15,
)


@settings(try_examples(100), suppress_health_check=[HealthCheck.too_slow])
@given(ODD_SCHEMAS)
def test_any_json_becomes_an_object_with_properties(schema: Any) -> None:
    fitted = fit_schema(schema)
    assert fitted["type"] == "object"
    assert all(isinstance(form, dict | bool) for form in fitted["properties"].values())
    assert all(isinstance(name, str) for name in fitted.get("required", []))
