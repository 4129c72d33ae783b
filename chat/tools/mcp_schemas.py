"""The schemas of MCP tools' arguments, in the form that every provider takes.

A provider refuses all tools of a question for one schema, and the model is asked without tools then. OpenAI wants the
properties of an object listed, where there are none too, and what is in a list; OpenAI and Anthropic take no choice at
the top level, though the protocol allows one; Anthropic takes nothing that JSON Schema had before 2020-12. The server
checks the arguments itself.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from pydantic_core import to_json

Json = dict[str, Any]

LARGEST_SCHEMA = 100_000
"""Bytes of JSON, some 25,000 tokens of each question. A larger schema is offered as an object with any properties."""

_MOST_DEMANDS = 50_000  # looked at in a schema's choices, which may share them: 10 ms
_DEEPEST = 50  # choices within choices, or references to references

# Members of a JSON schema that hold schemas by name, one schema, or several.
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SINGLE = ("items", "additionalProperties", "contains", "not", "propertyNames", "if", "then", "else")
_CHOICES = ("allOf", "anyOf", "oneOf")
_TUPLE = "prefixItems"

# What OpenAI and Anthropic refuse at the top level, and what stands for all that is beside it.
_NOT_AT_TOP = (*_CHOICES, "not", "enum", "$ref")


def fit_schema(schema: object) -> Json:
    """Return an object's schema: with its properties, and with those of the choices at its top level among them."""
    anything: Json = {"type": "object", "properties": {}}
    if len(to_json(schema)) > LARGEST_SCHEMA:
        return anything
    mended = _mend_schema(schema)
    given: Json = mended if isinstance(mended, dict) else {}
    arguments = _Arguments(given)
    try:
        required = arguments.add(given)
    except _TooManyDemandsError:
        return anything
    fitted = {name: value for name, value in given.items() if name not in _NOT_AT_TOP}
    fitted |= {"type": "object", "properties": arguments.list_properties()}
    if required or "required" in given:
        fitted["required"] = list(required)
    return fitted


class _TooManyDemandsError(Exception):
    pass


class _Arguments:
    """The properties that a schema has at its top level, in what it refers to there, and in its choices."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._forms: dict[str, list[object]] = {}
        self._required: dict[int, dict[str, None]] = {}
        """By the identity of each schema that has been added: one that several choices refer to is added once."""
        self._demands = 0

    def add(self, schema: object, depth: int = 0) -> dict[str, None]:
        """Add the properties of a schema; return those that there have to be."""
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return {}
        if id(schema) not in self._required:
            self._required[id(schema)] = {}  # for a schema that refers to itself
            self._required[id(schema)] = self._add_members(schema, depth)
        self._demands += 1 + len(self._required[id(schema)])
        if self._demands > _MOST_DEMANDS:
            raise _TooManyDemandsError
        return self._required[id(schema)]

    def _add_members(self, schema: Json, depth: int) -> dict[str, None]:
        for name, form in _get_object(schema, "properties").items():
            self._forms.setdefault(name, []).append(form)
        required = dict.fromkeys(_list_required(schema))
        for part in (self._find(schema.get("$ref")), *_get_list(schema, "allOf")):
            required |= self.add(part, depth + 1)
        for kind in ("anyOf", "oneOf"):
            demanded = [self.add(option, depth + 1) for option in _get_list(schema, kind)]
            for name in demanded[0] if demanded else ():
                if all(name in others for others in demanded):
                    required[name] = None
        return required

    def _find(self, reference: object) -> object:
        """Return what a reference within the schema points to, None when there is nothing."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found: object = self._root
        for part in unquote(reference).split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found

    def list_properties(self) -> Json:
        """Return the properties; one that has another form in each choice may have any of them.

        A form that takes anything is left out beside others: it says that the property is there, they say what it is.
        """
        telling = {
            name: [form for form in forms if form is not True and form != {}] for name, forms in self._forms.items()
        }
        return {name: _allow_any(telling[name] or forms) for name, forms in self._forms.items()}


def _allow_any(forms: list[object]) -> object:
    """Return a schema that takes whatever one of these takes; `False` takes nothing."""
    if len(forms) == 1:
        return forms[0]
    several: dict[str, object] = {}
    for form in forms:
        choices = (_get_list(form, "anyOf") if isinstance(form, dict) and len(form) == 1 else []) or [form]
        several |= {json.dumps(choice, sort_keys=True): choice for choice in choices}
    if len(several) > 1:
        several.pop("false", None)
    if len(several) == 1:
        return next(iter(several.values()))
    return {} if several.keys() & {"true", "{}"} else {"anyOf": list(several.values())}


def _get_object(schema: Json, name: str) -> Json:
    found = schema.get(name)
    return found if isinstance(found, dict) else {}


def _get_list(schema: Json, name: str) -> list[Any]:
    found = schema.get(name)
    return found if isinstance(found, list) else []


def _list_required(schema: Json) -> list[str]:
    return [name for name in _get_list(schema, "required") if isinstance(name, str)]


def _mend_schema(schema: object) -> object:
    """Return a JSON schema in which no empty object is written as a list, as PHP writes it, and nothing as of old.

    What is no schema takes anything.
    """
    if not isinstance(schema, dict):
        return schema if isinstance(schema, bool) else {}
    forms = _list_forms(schema)
    mended = _convert_old_forms(schema)
    if forms:  # which are mended once, below: twice at each level would be exponential
        mended.pop("items", None)
    schema = dict(mended)
    for name in _BY_NAME:
        if name in schema:
            mended[name] = {key: _mend_schema(each) for key, each in _get_object(schema, name).items()}
    for name in _SINGLE:
        if name in schema:
            mended[name] = _mend_schema(schema[name])
    for name in _CHOICES:
        if isinstance(inner := mended.pop(name, None), list) and inner:
            mended[name] = [_mend_schema(each) for each in inner]
    if forms:
        mended["items"] = _allow_any([_mend_schema(form) for form in forms])
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
    mended.pop(_TUPLE, None)
    if isinstance(schema.get("items"), list):
        mended["items"] = {}
        mended.pop("additionalItems", None)
    kinds = schema.get("type")
    if kinds == "array" or (isinstance(kinds, list) and "array" in kinds):
        mended.setdefault("items", {})
    return mended


def _list_forms(schema: Json) -> list[object]:
    """Return the forms of a list's places, and of those after them; none where each place has the same.

    An item may have any of them then. Draft 7 has the places in `items` and the rest in `additionalItems`, 2020-12 in
    `prefixItems` and `items`; a rest that is not told is anything.
    """
    is_old = isinstance(schema.get("items"), list)
    places = schema["items"] if is_old else _get_list(schema, _TUPLE)
    if not places:
        return []
    most = schema.get("maxItems")
    is_rest_possible = not isinstance(most, int | float) or most > len(places)
    rest = [schema.get("additionalItems" if is_old else "items", True)] if is_rest_possible else []
    return [*places, *rest]
