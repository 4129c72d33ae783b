"""Strict readers of environment variables: a bad value stops the start with one clear line."""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}


def text(name: str, default: str = "") -> str:
    """The variable without surrounding blanks; an empty one counts as not set."""
    return os.environ.get(name, "").strip() or default


def items(name: str, default: str = "") -> list[str]:
    """A comma list; empty items are dropped."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def boolean(name: str, *, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value not in TRUE | FALSE:
        refuse(name, "must be one of 1, 0, true, false, yes, no, on, off")
    return value in TRUE


def number(name: str, default: float, *, least: float = 0.0, most: float = float("inf")) -> float:
    """A finite number, at least `least` and at most `most`."""
    value = text(name)
    try:
        parsed = float(value) if value else default
    except ValueError:
        refuse(name, f"must be a number, not {value!r}")
    if not least <= parsed < float("inf"):
        refuse(name, f"must be at least {least:g}, not {value}")
    if parsed > most:
        refuse(name, f"must be at most {most:g}, not {value}")
    return parsed


def integer(name: str, default: int, *, least: int = 0) -> int:
    """A whole number, at least `least`."""
    value = text(name)
    try:
        parsed = int(value) if value else default
    except ValueError:
        refuse(name, f"must be a whole number, not {value!r}")
    if parsed < least:
        refuse(name, f"must be at least {least}, not {parsed}")
    return parsed


def mapping(name: str) -> dict[str, dict[str, Any]]:
    """A JSON object of objects; its content may be secret and is never repeated."""
    try:
        value = json.loads(text(name, "{}"))
    except ValueError:
        refuse(name, "must be JSON")
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        refuse(name, "must be a JSON object of objects")
    return value


def decimal(name: str, default: str) -> Decimal:
    """An exact number, at least 0."""
    value = text(name, default)
    try:
        parsed = Decimal(value)
    except InvalidOperation:
        refuse(name, f"must be a number, not {value!r}")
    if not (parsed.is_finite() and parsed >= 0):
        refuse(name, f"must be at least 0, not {value}")
    return parsed


def refuse(name: str, reason: str) -> NoReturn:
    """Stop the start. The value of a secret never reaches `reason`."""
    sys.exit(f"Configuration error: {name} {reason}")
