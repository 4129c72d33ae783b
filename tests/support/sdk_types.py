"""Holds a value to a type of the SDKs: their TypedDicts say what a request may have, which nothing checks."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Required, TypeVar, Union, get_args, get_origin

from typing_extensions import get_type_hints, is_typeddict


def find_complaints(value: object, kind: Any, place: str = "body") -> Iterator[str]:
    """Yield what of the value the type does not take; members that it does not name are a complaint too."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Required, NotRequired, Annotated):
        yield from find_complaints(value, parts[0], place)
    elif origin in (Union, types.UnionType):
        yield from _check_union(value, parts, place)
    elif origin is Literal:
        if value not in parts:
            yield f"{place} is {value!r} and not one of {parts}"
    elif is_typeddict(kind):
        yield from _check_members(value, kind, place)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            yield f"{place} is no object"
    elif _is_list(kind, origin):
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from find_complaints(item, parts[0], f"{place}[{number}]")
        else:
            yield f"{place} is no list"
    elif isinstance(kind, type) and kind is not object and not _is_plain(value, kind):
        yield f"{place} is {type(value).__name__} and not {kind.__name__}"


def _is_list(kind: Any, origin: Any) -> bool:
    if origin is None or isinstance(kind, TypeVar):
        return False
    return origin.__name__ == "SequenceNotStr" or (isinstance(origin, type) and issubclass(origin, Iterable))


def _is_plain(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _check_union(value: object, parts: tuple[Any, ...], place: str) -> Iterator[str]:
    found = [list(find_complaints(value, part, place)) for part in parts]
    if all(found):
        yield min(found, key=len)[0]


@cache
def _list_members(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    hints = get_type_hints(kind, include_extras=True)
    needed = {
        name for name, hint in hints.items() if str(hint).startswith(("typing.Required", "typing_extensions.Required"))
    }
    return hints, frozenset(needed) | kind.__required_keys__


def _check_members(value: object, kind: Any, place: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{place} is no {kind.__name__}"
        return
    members, needed = _list_members(kind)
    yield from (f"{place} lacks {name}" for name in sorted(needed - value.keys()))
    for name, member in value.items():
        if name not in members:
            yield f"{place} has {name}, which {kind.__name__} does not"
        else:
            yield from find_complaints(member, members[name], f"{place}.{name}")
