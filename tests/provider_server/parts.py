"""Which parts of a request a script refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.provider_server.script import Script
from tests.provider_server.wire import Json, Refusal


def find_refused_part(script: Script, body: Json) -> Refusal | None:
    """Return the refusal of the first part that the script does not take and the request has."""
    for refused in script.refused_parts:
        if has_part(body, refused.part):
            return Refusal(refused.status, refused.type, refused.message, refused.code, refused.param, refused.body)
    return None


def has_part(body: Json, part: str) -> bool:
    """Return whether the request has what the path leads to, with the value or above the figure that it names."""
    path, sign, wanted = [*re.split("([=>])", part, maxsplit=1), "", ""][:3]
    found = list(_walk_to(body, path.split(".")))
    if sign == ">":
        return any(isinstance(value, int | float) and value > float(wanted) for value in found)
    return any(str(value) == wanted for value in found) if sign else bool(found)


def _walk_to(value: Any, path: list[str]) -> Iterator[Any]:
    if not path:
        yield value
    elif isinstance(value, list):
        places = value if path[0] == "*" else value[int(path[0]) :][:1] if path[0].lstrip("-").isdigit() else []
        for item in places:
            yield from _walk_to(item, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from _walk_to(value[path[0]], path[1:])
