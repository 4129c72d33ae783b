"""What the tables of other servers' streams share: a row is a stream, and what it should be read for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chat.providers.base import Provider, ToolSchema
from tests.contracts.hearing import PROMPT, Heard, hear
from tests.provider_server import ProviderServer, Script

ASKED = replace(PROMPT, tools=(ToolSchema("clock", "The time", {"type": "object"}),))
Row = tuple[str, dict[str, Any]]


async def check_stream(provider: Provider, server: ProviderServer, row: Row) -> None:
    """Have the server send the row's stream, and hold what is read of it to what the row says."""
    raw, wanted = row
    server.script = Script(raw=raw)
    heard = await hear(provider, ASKED)
    wanted = {"err": None, **{member: value for member, value in wanted.items() if value is not None}}
    assert read(heard, wanted) == wanted


def read(heard: Heard, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what was heard, as far as a row says what it should be."""
    found = {
        "err": heard.error.code if heard.error else None,
        "text": heard.text,
        "reasoning": heard.reasoning,
        "fin": heard.finishes,
        "usage": heard.usage,
        "calls": [(call.name, call.arguments) for call in heard.calls],
    }
    return {member: value for member, value in found.items() if member in wanted}
