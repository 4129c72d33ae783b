"""Bodies of requests, and frames of sockets: JSON that keeps to a declared shape, or a refusal that names the field."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
from django.http import HttpRequest, RawPostDataException

from chat.http.errors import ApiError

Shape = TypeVar("Shape", bound=msgspec.Struct)

# What a body may be called. Without a name, and by the name that `curl -d` gives to anything, it is read as JSON too:
# a request that forges a form of a page has no CSRF token under any of them.
JSON_NAMES = re.compile(r"application/(?:json|[a-z0-9.+-]+\+json|x-www-form-urlencoded)", re.IGNORECASE)

NO_JSON = ApiError(415, "unsupported_media_type", "Send JSON, as `Content-Type: application/json`.")

# A character's escape in JSON, and each other escape for itself, so that none begins in the middle of one. The group is
# half a character: a high surrogate without a low one behind it, or a low one.
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_AT = re.compile(r"(.*) - at `(?:key in )?\$(.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)

# msgspec names types as Python does.
_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "uuid": "a UUID",
    "null": "null",
}


class _Ambiguous(NamedTuple):
    """Stands for an object that has a key twice: nobody knows which one counts (RFC 8259, section 4)."""

    key: str


def read_body(request: HttpRequest, shape: type[Shape]) -> Shape:
    """Return the body of a request in its declared shape; no body at all is an empty object. Raises `ApiError`."""
    if _is_empty_form(request):
        return read_fields({}, shape)
    try:
        body = request.body
    except RawPostDataException:  # a form with files, which was read in search of its CSRF token
        raise NO_JSON from None
    if not body:
        return read_fields({}, shape)
    _check_media_type(request)
    return read_fields(parse_object(body, "The body"), shape)


def _is_empty_form(request: HttpRequest) -> bool:
    """Return whether the body is a form without a field, which some clients send for a request without a body.

    That is the last boundary alone, with two hyphens on each side and maybe a line's end (RFC 2046, section 5.1.1).
    """
    length, boundary = request.META.get("CONTENT_LENGTH", ""), (request.content_params or {}).get("boundary", "")
    return request.content_type == "multipart/form-data" and length in {str(len(boundary) + more) for more in (4, 6)}


def _check_media_type(request: HttpRequest) -> None:
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if media_type and not JSON_NAMES.fullmatch(media_type):
        raise NO_JSON
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise ApiError(415, "unsupported_media_type", "Send the body as it is, without a `Content-Encoding`.")


def parse_object(text: str | bytes, name: str) -> dict[str, Any]:
    """Return a JSON object; `name` is what a refusal calls it. Raises `ApiError` for anything else."""
    is_ambiguous = False

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Ambiguous:
        nonlocal is_ambiguous
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        is_ambiguous = True
        names = Counter(name for name, _ in pairs)
        return _Ambiguous(next(name for name in names if names[name] > 1))

    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(_replace_halves(decoded), object_pairs_hook=make_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    if path := _find_ambiguous(value) if is_ambiguous else ():
        raise ApiError(400, "bad_request", f"{name} has `{path[-1]}` twice.", path=path)
    if not isinstance(value, dict):
        raise ApiError(400, "bad_request", f"{name} must be a JSON object.")
    return value


def _replace_halves(text: str) -> str:
    """Return JSON with each escape of half a character as U+FFFD: nothing can keep one, be it a name or a value."""
    if not _SURROGATE.search(text):
        return text
    return _ESCAPE.sub(lambda found: "\\ufffd" if found[1] else found[0], text)


def _find_ambiguous(value: Any) -> tuple[str, ...]:
    """Return the names that lead to a key that comes twice, each no longer than a refusal repeats."""
    open_values: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while open_values:
        path, value = open_values.pop()
        if isinstance(value, _Ambiguous):
            return (*path, _shorten(value.key))
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        open_values += [((*path, _shorten(str(key))), each) for key, each in members]
    return ()


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)


def read_fields(fields: Mapping[str, Any], shape: type[Shape]) -> Shape:
    """Return what a program sent in its declared shape. Raises `ApiError`, which names the field and the reason."""
    try:
        found = msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    for name in fields:
        _check_moment(name, getattr(found, name, None))
    return found


def _check_moment(name: str, value: object) -> None:
    """Refuse a moment that is beyond the calendar in UTC, which no database takes. Raises `ApiError`."""
    try:
        if isinstance(value, datetime):
            value.astimezone(UTC)
    except OverflowError:
        raise ApiError(400, "bad_request", f"`{name}` is out of range.", field=name) from None


def _explain(complaint: str) -> ApiError:
    """Return the refusal that msgspec's complaint comes to."""
    at = _AT.fullmatch(complaint)
    reason, path = (at[1], at[2].lstrip(".")) if at else (complaint, "")
    names = (path,) if path else ()
    if unknown := _UNKNOWN.fullmatch(reason):
        names, reason = (*names, _shorten(unknown[1])), "is not a field of this request"
    elif missing := _MISSING.fullmatch(reason):
        names, reason = (*names, missing[1]), "is missing"
    else:
        reason = _reword(reason)
    sentence = f"`{'.'.join(names)}` {reason}." if names else f"The body {reason}."
    return ApiError(400, "bad_request", sentence, path=names)


def _reword(reason: str) -> str:
    """Return a complaint about a value as the end of a sentence."""
    if reason == "Invalid UUID":
        return "must be a UUID"
    if reason.startswith("Invalid enum value"):
        return "has a value that is not one of those it may have"
    if match := re.fullmatch(r"Expected `(\w+(?: \| \w+)*)`, got `(\w+)`", reason):
        return f"must be {' or '.join(_TYPES.get(name, name) for name in match[1].split(' | '))}"
    if match := re.fullmatch(r"Expected `(\w+)` of length (>=|<=) (\d+)", reason):
        return f"must have {'at least' if match[2] == '>=' else 'at most'} {match[3]} characters"
    if match := re.fullmatch(r"Expected `(\w+)` (>=|<=) (-?\d+)", reason):
        return f"must be {'at least' if match[2] == '>=' else 'at most'} {match[3]}"
    return f"is not right: {reason[:1].lower()}{_shorten(reason[1:])}"


def _shorten(text: str) -> str:
    """Return the beginning of a text that a client sent: a refusal repeats no more of it."""
    return text if len(text) <= 60 else f"{text[:60]}…"
