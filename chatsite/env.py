"""Strict readers of environment variables: a bad value stops the start with one clear line."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Number = TypeVar("Number", int, float, Decimal)

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}

DAY = 86_400

# `EX_CONFIG` of sysexits.h; the unit in deploy/ names it in `RestartPreventExitStatus`.
BAD_CONFIGURATION = 78

# What a database column and a C int hold.
LARGEST_INTEGER = 2**31 - 1

# Bytes; what Linux's file systems take.
LONGEST_FILE_NAME = 255

# Python also reads `1_000`, digits of other scripts and `infinity`; whoever writes those means something else.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_SECRET = re.compile(r"[\x21-\x7e]+")

# What stands in an example, or what nobody has filled in: ${KEY}, $KEY, <your-key>, {{key}}, KEY=sk-….
_PLACEHOLDER = re.compile(r"\$\{.*|\$[A-Z_]+|<.*>|\{\{.*\}\}|[A-Z][A-Z_]+=.*", re.DOTALL)

# Variables that a container platform makes for a service called "chat"; nobody has set them.
_OF_A_PLATFORM = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT|PORT|PORT_\d+.*|SERVICE_PORT_.*)")

# How like a setting's name a variable has to be to be taken for a misspelling of it, when its own name does not
# begin as the settings do: DATABASE_URI is (0.92), SECRET_KEY_BASE of other frameworks is not (0.80).
_NEAR = 0.82

_names: set[str] = set()
_names_of_machine: set[str] = set()


def read_text(name: str, default: str = "") -> str:
    """Return the variable without surrounding blanks; an empty one counts as not set."""
    _names.add(name)
    value = os.environ.get(name, "").strip()
    if any("\udc80" <= character <= "\udcff" for character in value):
        refuse(name, "is not UTF-8")
    return value or default


def read_machine_text(name: str) -> str:
    """Return a variable that other programs read too, and that others have names like it: `NIX_SSL_CERT_FILE`."""
    _names_of_machine.add(name)
    return read_text(name)


def read_items(name: str, default: str = "") -> list[str]:
    """Return a comma list; drop empty items, and refuse a list of nothing else."""
    value = read_text(name, default)
    found = [item.strip() for item in value.split(",") if item.strip()]
    if value and not found:
        refuse(name, f"lists nothing: {quote(value)}")
    return found


def read_switch(name: str, *, default: bool) -> bool:
    """Return a switch."""
    value = read_text(name).lower()
    if not value:
        return default
    if value not in TRUE | FALSE:
        refuse(name, "must be one of 1, 0, true, false, yes, no, on, off")
    return value in TRUE


def read_number(name: str, default: float, *, least: float = 0.0, most: float = 1e9) -> float:
    """Return a finite number, at least `least` and at most `most`."""
    value = read_text(name)
    if not value:
        return default
    if value.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        refuse(name, f"must be at least {least:g} and finite, not {value}")
    if not _NUMBER.fullmatch(value):
        refuse(name, f"must be a number, not {quote(value)}")
    return _check_bounds(name, float(value), least, most)


def read_integer(name: str, default: int, *, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    """Return a whole number, at least `least` and at most `most`."""
    value = read_text(name)
    if not value:
        return default
    if not _INTEGER.fullmatch(value):
        refuse(name, f"must be a whole number, not {quote(value)}")
    return _check_bounds(name, int(value), least, most)


def read_decimal(name: str, default: str, *, most: Decimal) -> Decimal:
    """Return an exact number, at least 0 and at most `most`."""
    return parse_decimal(name, read_text(name, default), most)


def parse_decimal(name: str, value: str, most: Decimal) -> Decimal:
    """Return the exact number that a part of `name` says, at least 0 and at most `most`; refuse any other."""
    try:
        parsed = Decimal(value)
    except InvalidOperation:
        refuse(name, f"must be a number, not {quote(value)}")
    if not parsed.is_finite():
        refuse(name, f"must be at least 0 and finite, not {quote(value)}")
    if not _NUMBER.fullmatch(value):
        refuse(name, f"must be a number, not {quote(value)}")
    return _check_bounds(name, parsed, Decimal(0), most)


def read_mapping(name: str) -> dict[str, dict[str, Any]]:
    """Return a JSON object of objects; its content may be secret and is never repeated."""

    def keep_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        kept = dict(pairs)
        if len(kept) < len(pairs):
            refuse(name, "has two members of one name, of which JSON would keep the last alone")
        return kept

    try:
        value = json.loads(read_text(name, "{}"), object_pairs_hook=keep_each)
    except (ValueError, RecursionError):
        refuse(name, "must be JSON")
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        refuse(name, "must be a JSON object of objects")
    return value


def read_choice(name: str, default: str, choices: Collection[str]) -> str:
    """Return the variable, which must be one of `choices`."""
    value = read_text(name, default)
    if value not in choices:
        refuse(name, f"must be {' or '.join(choices)}, not {quote(value)}")
    return value


def read_directory(name: str, default: str) -> str:
    """Return the path of a directory that the site can write, or may make; "" for `none`."""
    value = read_text(name)
    if not value:
        return default
    if value == "none":
        return ""
    path = Path(value)
    if not path.is_absolute():
        refuse(name, f"must be none or the path of a directory, from the root on, not {quote(value)}")
    # Not `Path.exists`: it raises below a directory that the site's user may not enter, and for too long a name.
    is_there = os.path.exists(path)
    if is_there and not os.path.isdir(path):
        refuse(name, f"is not a directory: {quote(value)}")
    if len(os.fsencode(path.name)) > LONGEST_FILE_NAME:
        refuse(name, f"has too long a name: {quote(value)}")
    if not os.access(path if is_there else path.parent, os.W_OK | os.X_OK):
        refuse(name, f"cannot be written: {quote(value)}; name a directory of the site's user")
    return value


def read_time_zone(name: str, default: str) -> str:
    """Return the name of a time zone that this machine knows, such as Europe/Berlin."""
    value = read_text(name, default)
    try:
        if value != "UTC":  # which needs no data of the machine's
            ZoneInfo(value)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        refuse(name, f"must be a time zone such as Europe/Berlin, not {quote(value)}")
    return value


def read_secret(name: str) -> str:
    """Return a key or token. It is sent in a header, so it is printable ASCII without blanks; it is never repeated."""
    value = read_text(name)
    if value and not _SECRET.fullmatch(value):
        refuse(name, "must be printable ASCII without blanks: a header takes nothing else")
    refuse_placeholder(name, value)
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        refuse(name, "has quotation marks around it; leave them out")
    return value


def refuse_placeholder(name: str, value: str) -> None:
    """Refuse what stands in an example, which anybody may know."""
    if _PLACEHOLDER.fullmatch(value):
        refuse(name, "holds a placeholder that nobody has put the value in for")


def _check_bounds(name: str, value: Number, least: Number, most: Number) -> Number:
    if value < least:
        refuse(name, f"must be at least {_write_plain(least)}, not {_write_plain(value)}")
    if value > most:
        refuse(name, f"must be at most {_write_plain(most)}, not {_write_plain(value)}")
    return value


def _write_plain(number: Number) -> str:
    return f"{number:,}".removesuffix(".0") if abs(number) < 10**12 else f"{float(number):g}"


def quote(value: str) -> str:
    """Return a value as one line that is not too long for an error message."""
    return repr(shorten(value))


def shorten(value: str) -> str:
    """Return what an error message has room for of a value."""
    return value if len(value) <= 80 else f"{value[:79]}…"


def list_names_read() -> frozenset[str]:
    """Return the names of all variables that have been asked for: the settings of the site."""
    return frozenset(_names)


def find_unknown_names() -> dict[str, str]:
    """Return the variables that look like a setting and are none, each with the nearest setting's name or ""."""
    unknown = {}
    for name in sorted(os.environ.keys() - _names):
        upper = name.upper()
        is_ours = upper.startswith("CHAT_") and not _OF_A_PLATFORM.fullmatch(upper)
        near = get_close_matches(upper, _names - _names_of_machine, 1, 0.6 if is_ours else _NEAR)
        if (is_ours or near) and os.environ[name].strip():
            unknown[name] = near[0] if near else ""
    return unknown


def warn_of_unknown_names() -> None:
    """Write a line for each variable that looks like a setting and is none.

    It goes to standard error, because the settings are read before there is a log.
    """
    for name, near in find_unknown_names().items():
        hint = f"; did you mean {near}?" if near else "; docs/configuration.md has all settings"
        sys.stderr.write(f"Configuration warning: {name} is no setting of this site{hint}\n")


def refuse(name: str, reason: str) -> NoReturn:
    """Stop the start with one line and the exit code 78 (`EX_CONFIG`), after which systemd tries no more.

    The value of a secret never reaches `reason`.
    """
    sys.stderr.write(f"Configuration error: {name} {reason}\n")
    raise SystemExit(BAD_CONFIGURATION)
