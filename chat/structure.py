"""Structured output: an answer that is JSON by a schema. Which schemas are taken, what of the answer is complete while
it grows, and whether the whole keeps to its schema.

Both the schema and the answer are strangers' work. So a schema reaches nothing beyond itself, its patterns are matched
in linear time, and a check takes `PATIENCE` at most, in a thread.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
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

from chat.errors import ChatError
from chat.events import Field

# Of the schema as JSON. The longest that OpenAI takes has 120,000 characters in its names alone; ours is kept with each
# answer.
MOST_CHARACTERS = 32_000

# Objects and arrays within each other, in a schema and in what is streamed of an answer.
MOST_NESTED = 64

# Seconds for one check. A schema of MOST_CHARACTERS that means well takes milliseconds.
PATIENCE = 2.0

# What would let a schema name another, change its dialect, or be matched by Python's backtracking patterns.
_REFUSED = {"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "patternProperties", "unevaluatedProperties"}

_BY_NAME = {"properties", "$defs", "definitions", "dependentSchemas"}
_PLAIN = {"enum", "const", "default", "examples"}

_json = msgspec.json.Decoder()


class UnusableSchemaError(ValueError):
    """A schema that is not taken; the text is a sentence for people."""


def usable(schema: object) -> dict[str, Any]:
    """The schema as it is kept and sent. Raises `UnusableSchemaError`. For a thread: a long one takes a while."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise UnusableSchemaError('The schema must be a JSON schema with "type": "object".')
    found: dict[str, Any] = {name: value for name, value in schema.items() if name != "$schema"}
    try:
        size = len(msgspec.json.encode(found))
        if size > MOST_CHARACTERS:
            raise UnusableSchemaError(f"The schema has {size:,} characters; at most {MOST_CHARACTERS:,} are allowed.")
        for keyword, value in _keywords(found):
            _check_keyword(keyword, value)
        # Without its check of formats: a pattern is no Python pattern here.
        for error in Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(found):
            raise UnusableSchemaError(f"This is no JSON schema: `{error.json_path}` breaks `{error.validator}`.")
    except (RecursionError, UnicodeError):
        raise UnusableSchemaError("The schema cannot be read.") from None
    return found


def _keywords(schema: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every keyword with its value, in the schema and in those within it."""
    if depth > MOST_NESTED:
        raise UnusableSchemaError("The schema is too deep.")
    if isinstance(schema, list):
        for part in schema:
            yield from _keywords(part, depth + 1)
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        yield keyword, value
        if keyword in _BY_NAME and isinstance(value, dict):
            yield from _keywords(list(value.values()), depth + 1)
        elif keyword not in _PLAIN:
            yield from _keywords(value, depth + 1)


def _check_keyword(keyword: str, value: Any) -> None:
    if keyword in _REFUSED or keyword == "$schema":
        raise UnusableSchemaError(f"`{keyword}` is not supported here.")
    if keyword == "$ref" and not (isinstance(value, str) and value.startswith("#")):
        raise UnusableSchemaError("A `$ref` must begin with #.")
    if keyword == "pattern" and isinstance(value, str):
        try:
            _pattern(value)
        except PatternError:
            raise UnusableSchemaError("A `pattern` must be a regular expression without look-around.") from None


# The whole


async def check(text: str, schema: Mapping[str, Any]) -> None:
    """Raise `ChatError("invalid_output")` unless the text is JSON that keeps to the schema. The detail says what is
    wrong and nothing of either."""
    if wrong := await asyncio.to_thread(_wrong, text, schema):
        raise ChatError("invalid_output", wrong)


def _wrong(text: str, schema: Mapping[str, Any]) -> str:
    try:
        value = _json.decode(text)
        _until.set(time.monotonic() + PATIENCE)
        error: ValidationError | None = next(_Validator(schema, registry=Registry()).iter_errors(value), None)
    except (msgspec.DecodeError, UnicodeError):
        return "the text is not JSON"
    except _TooSlowError:
        return f"the check took more than {PATIENCE:g} s"
    except (RecursionError, Unresolvable):
        return "the schema refers to itself without end, or to nothing"
    return f"breaks {error.validator}" if error else ""


class _TooSlowError(Exception):
    """A check has used up its time: references multiply, so a short schema can ask for a century's work."""


_until: ContextVar[float] = ContextVar("until")


Rule = Callable[[Any, Any, Any, Any], Any]


def _timed(rule: Rule) -> Rule:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if time.monotonic() > _until.get():
            raise _TooSlowError
        return rule(validator, value, instance, schema)

    return timed


def _matches(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str):
        try:
            _pattern(pattern).validate_python(instance)
        except MismatchError:
            yield ValidationError("does not match")


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> SchemaValidator:
    """Python's own patterns may take for ever, and hold up every other thread meanwhile."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


_RULES: dict[str, Rule] = {**Draft202012Validator.VALIDATORS, "pattern": _matches}
_Validator: Any = extend(Draft202012Validator, {name: _timed(rule) for name, rule in _RULES.items()})


# The fields


@dataclass(slots=True)
class _Container:
    """An object or array that the answer stands in. `name` is the member or the element that is being written."""

    path: str
    is_array: bool
    name: str | None
    is_empty: bool = True

    @property
    def inside(self) -> str:
        return f"{self.path}/{self.name}"


_SIGN = re.compile(r'["{}\[\],:]')
_STRING_SIGN = re.compile(r'["\\]')


class Fields:
    """Finds what is complete of a JSON object while its text grows: each member of an object, going down into objects,
    and each element of an array, whole.

    What it gives depends on the text alone, not on how it is cut. It keeps the field that is open and not the text: a
    parser of partial JSON would need the whole of it for each piece, and cannot say which value is complete. After what
    is no JSON it gives nothing more.
    """

    def __init__(self) -> None:
        self._open: list[_Container] = []
        self._value: list[str] = []  # the text of the key or the value that is open
        self._nested = 0  # within an element that is given whole
        self._in_string = False
        self._escaped = False
        self._is_over = False

    def feed(self, text: str) -> list[Field]:
        """The fields that this piece of the text completes."""
        found: list[Field] = []
        place = 0
        try:
            while place < len(text) and not self._is_over:
                place = self._string(text, place, found) if self._in_string else self._sign(text, place, found)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            self._is_over = True
        return found

    def _string(self, text: str, place: int, found: list[Field]) -> int:
        """On to the end of the string, or of the text."""
        if self._escaped:
            self._escaped = False
            self._value.append(text[place])
            return place + 1
        sign = _STRING_SIGN.search(text, place)
        end = sign.end() if sign else len(text)
        self._value.append(text[place:end])
        if sign and sign[0] == "\\":
            self._escaped = True
        elif sign:
            self._in_string = False
            if not self._nested:
                self._string_ended(found)
        return end

    def _string_ended(self, found: list[Field]) -> None:
        container = self._open[-1]
        if container.name is not None:
            self._complete(found)
        else:
            container.name = _escaped(str(self._decoded()))

    def _sign(self, text: str, place: int, found: list[Field]) -> int:
        """On to the next sign that means something, and past it."""
        match = _SIGN.search(text, place)
        end = match.start() if match else len(text)
        self._value.append(text[place:end])
        if match:
            if not self._open:
                self._begin(match[0])
            elif match[0] == '"':
                self._in_string = True
                self._value.append('"')
            elif self._nested or (match[0] in "{[" and self._open[-1].is_array):
                self._go_on_whole(match[0], found)
            else:
                self._act_on(match[0], found)
            end += 1
        return end

    def _begin(self, sign: str) -> None:
        if sign != "{" or "".join(self._value).strip():
            raise ValueError(sign)
        self._value.clear()
        self._open.append(_Container("", is_array=False, name=None))

    def _go_on_whole(self, sign: str, found: list[Field]) -> None:
        self._value.append(sign)
        self._nested += (sign in "{[") - (sign in "}]")
        if self._nested > MOST_NESTED:
            raise ValueError(sign)
        if not self._nested:
            self._complete(found)

    def _act_on(self, sign: str, found: list[Field]) -> None:
        container = self._open[-1]
        if sign == ":":
            if container.is_array or container.name is None:
                raise ValueError(sign)
            self._value.clear()
        elif sign in "{[":
            if container.name is None or len(self._open) >= MOST_NESTED:
                raise ValueError(sign)
            self._value.clear()
            self._open.append(_Container(container.inside, sign == "[", "0" if sign == "[" else None))
        else:
            if "".join(self._value).strip():
                self._complete(found)  # a number, or a word, which only what follows it ends
            if sign == ",":
                container.name = str(int(container.name or 0) + 1) if container.is_array else None
            else:
                self._end(found)

    def _complete(self, found: list[Field]) -> None:
        container = self._open[-1]
        if container.name is None:
            raise ValueError(container.path)
        container.is_empty = False
        found.append(Field(container.inside, self._decoded()))

    def _end(self, found: list[Field]) -> None:
        ended = self._open.pop()
        if not self._open:
            self._is_over = True
            return
        if ended.is_empty:
            found.append(Field(ended.path, [] if ended.is_array else {}))
        self._open[-1].is_empty = False

    def _decoded(self) -> Any:
        text = "".join(self._value)
        self._value.clear()
        return _json.decode(text)


def _escaped(name: str) -> str:
    """A member's name in a JSON pointer, RFC 6901."""
    return name.replace("~", "~0").replace("/", "~1")
