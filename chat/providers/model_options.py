"""The options of CHAT_MODEL_OPTIONS: values for fields of `Capabilities`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from typing import Any, get_args

from chat.providers.capabilities import EFFORTS, Api, CachingKind, Capabilities, SchemaKind, ThinkingKind
from chat.providers.model_table import FAMILY

# No model reads or writes more, and windows are computed with floats, which end somewhere.
MAX_TOKENS = 100_000_000


class ModelOptionError(ValueError):
    """An option of CHAT_MODEL_OPTIONS that is unknown or has a wrong value. The text says which, and what it may be."""


def read_options(provider: str, options: object) -> dict[str, Any]:
    """Return checked values for fields of `Capabilities` from parsed JSON. Raises `ModelOptionError`."""
    if not isinstance(options, dict):
        raise ModelOptionError("must be an object of options")
    known = {name: _read_option(name, value) for name, value in options.items()}
    apis = _APIS.get(provider, ())
    _require(known.get("api") in (None, *apis), "api", f"one of {', '.join(apis)} with {provider}")
    effort, efforts = known.get("default_effort"), known.get("efforts", EFFORTS)
    _require(effort in (None, "", *efforts), "default_effort", f"one of {', '.join(efforts)}")
    return known


_APIS: Mapping[str, tuple[Api, ...]] = {
    "openai": ("responses", "chat"),
    "anthropic": ("messages",),
    "demo": ("demo",),
}


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "api": get_args(Api),
    "thinking": get_args(ThinkingKind),
    "schema": get_args(SchemaKind),
    "caching": get_args(CachingKind),
}
_FIELDS = {each.name: str(each.type) for each in fields(Capabilities)}


def _read_option(name: str, value: object) -> Any:
    if name == FAMILY:
        _require(isinstance(value, str) and bool(value.strip()), name, "the name of a model, such as gpt-6.1-terra")
        return value
    if name not in _FIELDS:
        raise ModelOptionError(f"{name!r} is no option; there are: {', '.join(sorted({*_FIELDS, FAMILY}))}")
    if name in _CHOICES:
        _require(value in _CHOICES[name], name, f"one of {', '.join(_CHOICES[name])}")
        return value
    if name == "efforts":
        return _read_efforts(value)
    match _FIELDS[name].partition(" ")[0]:
        case "bool":
            _require(isinstance(value, bool), name, "true or false")
        case "int":
            is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_TOKENS
            _require(value is None or is_count, name, f"a whole number from 1 to {MAX_TOKENS}, or null")
        case "date":
            return _read_date(name, value)
        case _:
            _require(isinstance(value, str), name, "a text")
    return value


def _require(is_right: bool, name: str, wanted: str) -> None:
    if not is_right:
        raise ModelOptionError(f"{name!r} must be {wanted}")


def _read_efforts(value: object) -> tuple[str, ...]:
    words = value if isinstance(value, list) else [None]
    _require(all(word in EFFORTS for word in words), "efforts", f"a list of words from {', '.join(EFFORTS)}")
    return tuple(sorted(dict.fromkeys(words), key=EFFORTS.index))


def _read_date(name: str, value: object) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ModelOptionError(f"{name!r} must be a date as YYYY-MM-DD, or null") from None
