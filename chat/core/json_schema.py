"""Structured output: which JSON schemas are taken, and whether an answer keeps to its own.

Both the schema and the answer are strangers' work. So a schema reaches nothing beyond itself, its patterns are matched
in linear time, and a check takes `PATIENCE` at most, in a thread.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from pydantic_core import ValidationError as MismatchError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from chat.core.errors import ChatError

# Of the schema as JSON. The longest that OpenAI takes has 120,000 characters in its names alone; ours is kept with each
# answer.
MAX_CHARACTERS = 32_000

# Objects and arrays within each other, in a schema and in what is streamed of an answer.
MAX_NESTED = 64

# Seconds for one check. A schema of MAX_CHARACTERS that means well takes milliseconds.
PATIENCE = 2.0

# What would let a schema name another, change its dialect, or be matched by Python's backtracking patterns.
_REFUSED = {"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "patternProperties", "unevaluatedProperties"}

_BY_NAME = {"properties", "$defs", "definitions", "dependentSchemas"}
_PLAIN = {"enum", "const", "default", "examples"}

JSON_DECODER = msgspec.json.Decoder()


class UnusableSchemaError(ValueError):
    """A schema that is not taken; the text is a sentence for people."""


def check_schema(schema: object) -> dict[str, Any]:
    """Return the schema as it is kept and sent, or raise `UnusableSchemaError`. Long ones need a thread."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise UnusableSchemaError('The schema must be a JSON schema with "type": "object".')
    found: dict[str, Any] = {name: value for name, value in schema.items() if name != "$schema"}
    try:
        size = len(msgspec.json.encode(found))
        if size > MAX_CHARACTERS:
            raise UnusableSchemaError(f"The schema has {size:,} characters; at most {MAX_CHARACTERS:,} are allowed.")
        references = set()
        for keyword, value in _list_keywords(found):
            _check_keyword(keyword, value)
            if keyword == "$ref":
                references.add(value)
        # Without its check of formats: a pattern is no Python pattern here.
        for error in Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(found):
            raise UnusableSchemaError(f"This is no JSON schema: `{error.json_path}` breaks `{error.validator}`.")
        for reference in references:
            _check_reference(reference, found)
    except (RecursionError, UnicodeError):
        raise UnusableSchemaError("The schema cannot be read.") from None
    return found


def _list_keywords(schema: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every keyword with its value, in the schema and in those within it."""
    if depth > MAX_NESTED:
        raise UnusableSchemaError("The schema is too deep.")
    if isinstance(schema, list):
        for part in schema:
            yield from _list_keywords(part, depth + 1)
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        yield keyword, value
        if keyword in _BY_NAME and isinstance(value, dict):
            yield from _list_keywords(list(value.values()), depth + 1)
        elif keyword not in _PLAIN:
            yield from _list_keywords(value, depth + 1)


def _check_keyword(keyword: str, value: Any) -> None:
    if keyword in _REFUSED or keyword == "$schema":
        raise UnusableSchemaError(f"`{keyword}` is not supported here.")
    if keyword == "$ref" and not (isinstance(value, str) and value.startswith("#")):
        raise UnusableSchemaError("A `$ref` must begin with #.")
    if keyword == "pattern" and isinstance(value, str):
        try:
            _compile_pattern(value)
        except PatternError:
            raise UnusableSchemaError("A `pattern` must be a regular expression without look-around.") from None


def _check_reference(reference: str, schema: dict[str, Any]) -> None:
    """Refuse a `$ref` to nothing: every answer would break it, and cost all the same."""
    try:
        target = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver().lookup(reference).contents
    except Unresolvable:
        target = None
    if not isinstance(target, dict | bool):
        raise UnusableSchemaError(f"The `$ref` {reference[:60]} refers to nothing in the schema.")


# The whole


async def check_text(text: str, schema: Mapping[str, Any]) -> None:
    """Raise `ChatError("invalid_output")` unless the text is JSON that keeps to the schema.

    The error's detail says what is wrong, and repeats nothing of text or schema.
    """
    if wrong := await asyncio.to_thread(_find_fault, text, schema):
        raise ChatError("invalid_output", wrong)


def _find_fault(text: str, schema: Mapping[str, Any]) -> str:
    try:
        value = JSON_DECODER.decode(text)
        json.loads(text, object_pairs_hook=_check_keys)
        _until.set(time.monotonic() + PATIENCE)
        error: ValidationError | None = next(_Validator(schema, registry=Registry()).iter_errors(value), None)
    except _RepeatedKeyError:
        return "a key comes twice in an object"
    except (ValueError, UnicodeError):
        return "the text is not JSON"
    except _TooSlowError:
        return f"the check took more than {PATIENCE:g} s"
    except (RecursionError, Unresolvable):
        return "the schema refers to itself without end, or to nothing"
    return f"breaks {error.validator}" if error else ""


class _RepeatedKeyError(Exception):
    """An object has a key twice: readers would disagree about which one counts (RFC 8259, section 4)."""


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _RepeatedKeyError


class _TooSlowError(Exception):
    """A check has used up its time: references multiply, so a short schema can ask for a century's work."""


_until: ContextVar[float] = ContextVar("until")


Rule = Callable[[Any, Any, Any, Any], Any]


def _limit_time(rule: Rule) -> Rule:
    def run_in_time(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if time.monotonic() > _until.get():
            raise _TooSlowError
        return rule(validator, value, instance, schema)

    return run_in_time


def _match_pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str):
        try:
            _compile_pattern(pattern).validate_python(instance)
        except MismatchError:
            yield ValidationError("does not match")


@lru_cache(maxsize=64)
def _compile_pattern(pattern: str) -> SchemaValidator:
    """Compile a pattern for Rust's engine: Python's may take for ever, and hold up every other thread meanwhile."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


_RULES: dict[str, Rule] = {**Draft202012Validator.VALIDATORS, "pattern": _match_pattern}
_Validator: Any = extend(Draft202012Validator, {name: _limit_time(rule) for name, rule in _RULES.items()})
