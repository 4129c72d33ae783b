"""JSON pointers (RFC 6901): the place of a value inside a JSON text."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

# What may stand in a fragment as it is, besides letters, digits and `_.-~` (RFC 3986, section 3.5).
_FRAGMENT = "!$&'()*+,;=:@?"


def escape_name(name: str) -> str:
    """Write a member's name as a part of a pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def write_fragment(path: Sequence[str]) -> str:
    """Return the pointer to what these names lead to as the fragment of an address (RFC 6901, section 6)."""
    return "#" + "".join(f"/{quote(escape_name(name), safe=_FRAGMENT, errors='replace')}" for name in path)
