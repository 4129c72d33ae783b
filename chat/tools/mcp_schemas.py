"""The schemas of MCP tools' arguments, in the form that every provider takes.

A provider refuses all tools of a question for one schema, and the model is asked without tools then. OpenAI wants the
properties of an object listed, where there are none too, and what is in a list; OpenAI and Anthropic take no choice at
the top level, though the protocol allows one; Anthropic takes nothing that JSON Schema had before 2020-12. The server
checks the arguments itself.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

# Members of a JSON schema that hold schemas by name, one schema, or several.
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SINGLE = ("items", "additionalProperties", "contains", "not", "propertyNames", "if", "then", "else")
_CHOICES = ("allOf", "anyOf", "oneOf")
_TUPLE = "prefixItems"
_SEVERAL = (*_CHOICES, _TUPLE)

# What OpenAI and Anthropic refuse at the top level.
_NOT_AT_TOP = (*_CHOICES, "not", "enum")


def fit_schema(schema: object) -> Json:
    """Return an object's schema: with its properties, and with those of the choices at its top level among them."""
    mended = _mend_schema(schema)
    given: Json = mended if isinstance(mended, dict) else {}
    fitted = {name: value for name, value in given.items() if name not in _NOT_AT_TOP}
    fitted |= {"type": "object", "properties": dict(_get_object(given, "properties"))}
    required = _list_required(given)
    for kind in _CHOICES:
        options = given[kind] if isinstance(given.get(kind), list) else []
        found = [_resolve(option, given) for option in options if isinstance(option, dict)]
        for option in found:
            _add_properties(fitted["properties"], _get_object(option, "properties"))
        demanded = [_list_required(option) for option in found]
        required += [
            name
            for names in demanded
            for name in names
            if kind == "allOf" or all(name in others for others in demanded)
        ]
    if required:
        fitted["required"] = list(dict.fromkeys(required))
    return fitted


def _add_properties(known: Json, added: Json) -> None:
    """Add properties to those that are known; one that has another form in each choice may have any of them."""
    for name, schema in added.items():
        if name not in known:
            known[name] = schema
        elif isinstance(known[name], dict) and known[name] != schema:
            others = known[name]["anyOf"] if known[name].keys() == {"anyOf"} else [known[name]]
            known[name] = {"anyOf": others if schema in others else [*others, schema]}


def _resolve(option: Json, root: Json) -> Json:
    """Return the definition in `root` that a choice refers to, or the choice itself."""
    parts = str(option.get("$ref")).split("/")
    if len(parts) == 3 and parts[0] == "#" and isinstance(found := _get_object(root, parts[1]).get(parts[2]), dict):
        return found
    return option


def _get_object(schema: Json, name: str) -> Json:
    found = schema.get(name)
    return found if isinstance(found, dict) else {}


def _list_required(schema: Json) -> list[str]:
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _mend_schema(schema: object) -> object:
    """Return a JSON schema in which no empty object is written as a list, as PHP writes it, and nothing as of old."""
    if schema == []:
        return {}
    if not isinstance(schema, dict):
        return schema
    mended = _convert_old_forms(schema)
    schema = dict(mended)
    for name in _BY_NAME:
        if isinstance(inner := schema.get(name), dict | list):
            named = inner if isinstance(inner, dict) else {}
            mended[name] = {key: _mend_schema(each) for key, each in named.items()}
    for name in _SINGLE:
        if name in schema:
            mended[name] = _mend_schema(schema[name])
    for name in _SEVERAL:
        if isinstance(inner := schema.get(name), list):
            mended[name] = [_mend_schema(each) for each in inner]
    return mended


def _convert_old_forms(schema: Json) -> Json:
    """Return a schema without the forms that JSON Schema had before 2020-12, and with the items of each list."""
    mended = dict(schema)
    if "required" in schema and not isinstance(schema["required"], list):
        del mended["required"]
    for name, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(name), bool):
            del mended[name]
            if schema[name] and limit in schema:
                mended[name] = mended.pop(limit)
    rows = schema["items"] if isinstance(schema.get("items"), list) else schema.get(_TUPLE)
    if isinstance(rows, list) and rows:  # where each place has its own form, an item may have any of them
        forms = [form for place, form in enumerate(rows) if form not in rows[:place]]
        mended["items"] = forms[0] if len(forms) == 1 else {"anyOf": forms}
        mended.pop(_TUPLE, None)
        mended.pop("additionalItems", None)
    kinds = schema.get("type")
    if kinds == "array" or (isinstance(kinds, list) and "array" in kinds):
        mended.setdefault("items", {})
    return mended
