"""JSON as servers send it, not as their documentation says: what does not matter to the text never costs the text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

# More than any model reads or writes at once, and well within what the ledger's columns hold.
MAX_TOKENS = 20_000_000


def fit(value: object, shape: type[S]) -> S:
    """Return `value` as `shape`. Where a member should be an object or a list of objects, anything else is left out.

    Other members are taken as they are: their types are `Any`.
    """
    given = value if isinstance(value, dict) else {}
    members = {}
    for name, nested, is_list in _list_members(shape):
        if name not in given:
            continue
        member = given[name]
        if nested is None:
            members[name] = member
        elif is_list:
            parts = [member] if isinstance(member, dict) else member if isinstance(member, list) else []
            members[name] = [fit(part, nested) for part in parts if isinstance(part, dict)]
        elif isinstance(member, dict):
            members[name] = fit(member, nested)
    return shape(**members)


@cache
def _list_members(shape: type[msgspec.Struct]) -> list[tuple[str, type[msgspec.Struct] | None, bool]]:
    """Return each member with the shape of what it holds, if that is one, and whether it is a list of them."""
    found: list[tuple[str, type[msgspec.Struct] | None, bool]] = []
    for member in msgspec.structs.fields(shape):
        options = get_args(member.type) if isinstance(member.type, UnionType) else (member.type,)
        nested, is_list = None, False
        for option in options:
            inner = get_args(option)[0] if get_origin(option) is list else option
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                nested, is_list = inner, get_origin(option) is list
        found.append((member.name, nested, is_list))
    return found


def read_string(value: object) -> str:
    """Return a name or an id as a string; empty for a value that is neither a string nor a number."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def read_index(value: object) -> int | None:
    """Return an index in a list, which some servers send as a string; None for any other value."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
        return int(value.strip())  # which strips more than `int` does: "0\x1f" too
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def read_token_count(value: object) -> int | None:
    """Return a number of tokens; None when the value is no plausible one."""
    if isinstance(value, str):
        digits = value.strip()
        value = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 12 else None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS else None


def list_texts(value: object, depth: int = 4) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of text in a message's content, and of each whether it is reasoning.

    The content is a string, a part, or a list of parts (Mistral sends them so). What is no text, such as a reference,
    is passed over.
    """
    if isinstance(value, str):
        if value:
            yield value, False
    elif isinstance(value, list) and depth:
        for part in value:
            yield from list_texts(part, depth - 1)
    elif isinstance(value, dict) and depth:
        yield from _list_texts_of_part(value, depth - 1)


def _list_texts_of_part(part: dict[str, Any], depth: int) -> Iterator[tuple[str, bool]]:
    kind = part.get("type")
    if kind in ("thinking", "reasoning", "reasoning_text", "summary_text"):
        inner = next((part[name] for name in ("thinking", "reasoning", "text", "content") if part.get(name)), None)
        yield from ((text, True) for text, _ in list_texts(inner, depth))
    elif kind == "refusal":
        yield from list_texts(part.get("refusal"), depth)
    elif kind in ("text", "output_text", "input_text", "text_delta") or not isinstance(kind, str):
        inner = part.get("text", None if isinstance(kind, str) else part.get("content"))
        yield from list_texts(inner.get("value") if isinstance(inner, dict) else inner, depth)


def read_delta_text(value: object) -> str:
    """Return the text of a delta. Some gateways write a token of digits as a number."""
    return str(value) if type(value) in (int, float) else read_plain_text(value)


def read_plain_text(value: object) -> str:
    """Return all text in a value, whatever kind it is of."""
    return value if isinstance(value, str) else "".join(text for text, _ in list_texts(value))
