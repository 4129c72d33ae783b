"""Deltas of tool calls that keep to the format only nearly, as servers send them that CASES.md does not name."""

from __future__ import annotations

from typing import Any

import pytest

from chat.providers.base import Provider
from tests.contracts.hearing import OPENAI, hear
from tests.contracts.streams import ASKED
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import make_chunk, write_openai_events

ROME, OSLO = '{"city": "Rome"}', '{"city": "Oslo"}'


def make_piece(arguments: Any = None, name: str | None = None, call_id: str | None = None, index: int = 0) -> Any:
    return {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


ROWS: dict[str, tuple[list[Any], list[tuple[str, str]]]] = {
    "{} holds the place (Gemini, proxies of Anthropic)": (
        [make_piece("{}", "weather", "a"), make_piece('{"ci'), make_piece('ty": "Rome"}')],
        [("weather", ROME)],
    ),
    "{} holds the place of what comes a character at a time": (
        [make_piece("{}", "weather", "a"), *map(make_piece, ROME)],
        [("weather", ROME)],
    ),
    "an empty object holds the place": ([make_piece({}, "weather", "a"), make_piece(ROME)], [("weather", ROME)]),
    "{} holds the places of two calls": (
        [
            make_piece("{}", "weather", "a"),
            make_piece("{}", "weather", "b", 1),
            make_piece(ROME, index=0),
            make_piece(OSLO, index=1),
        ],
        [("weather", ROME), ("weather", OSLO)],
    ),
    "{} is all": (
        [make_piece("{}", "clock", "a"), make_piece("{}", "unknown", "b", 1)],
        [("clock", "{}"), ("unknown", "{}")],
    ),
    "{} and a blank": ([make_piece("{}", "clock", "a"), make_piece(" ")], [("clock", "{} ")]),
    "the whole arguments come again (GPT-5 at some routers)": (
        [make_piece("", "weather", "a"), make_piece(ROME[:7]), make_piece(ROME[7:]), make_piece(ROME, "weather", "a")],
        [("weather", ROME)],
    ),
    "a second object is a second call of the tool (Gemini at some routers)": (
        [make_piece("", "weather", "a"), make_piece(ROME, ""), make_piece(OSLO, "")],
        [("weather", ROME), ("weather", OSLO)],
    ),
    "a second object in pieces": (
        [make_piece(ROME, "weather", "a"), make_piece(OSLO[:3]), make_piece(OSLO[3:])],
        [("weather", ROME), ("weather", OSLO)],
    ),
    "an object inside the arguments": (
        [make_piece('{"a": [{}', "weather", "a"), make_piece(","), make_piece("{}]}")],
        [("weather", '{"a": [{},{}]}')],
    ),
    "two ids for one call (Atlas)": (
        [make_piece("", "weather", "a"), make_piece("", "weather", "b"), make_piece(ROME)],
        [("weather", ROME)],
    ),
    "another id for what follows (Poolside)": (
        [make_piece("", "weather", "a"), make_piece(ROME[:7], None, "b"), make_piece(ROME[7:], None, "b")],
        [("weather", ROME)],
    ),
    "one call under two indexes (LocalAI)": (
        [make_piece("", "weather", "a"), make_piece(ROME, "weather", "a", 1)],
        [("weather", ROME)],
    ),
    "one whole call under two indexes": (
        [make_piece(ROME, "weather", "a"), make_piece(ROME, "weather", "a", 1)],
        [("weather", ROME)],
    ),
    "one call made twice under one index (Ollama)": (
        [make_piece("{}", "clock", "a"), make_piece("{}", "clock", "b"), make_piece("{}", "clock", "c")],
        [("clock", "{}"), ("clock", "{}"), ("clock", "{}")],
    ),
    "one call made twice without ids": (
        [make_piece(ROME, "weather"), make_piece(ROME, "weather")],
        [("weather", ROME), ("weather", ROME)],
    ),
    "one id for two calls": (
        [make_piece(ROME, "weather", "a"), make_piece(OSLO, "weather", "a", 1)],
        [("weather", ROME), ("weather", OSLO)],
    ),
}


@OPENAI
@pytest.mark.parametrize(("pieces", "calls"), ROWS.values(), ids=ROWS.keys())
async def test_calls_are_what_the_model_made(
    provider: Provider, server: ProviderServer, pieces: list[Any], calls: list[tuple[str, str]]
) -> None:
    deltas = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
    server.script = Script(raw=write_openai_events(*deltas, make_chunk(reason="tool_calls")))
    heard = await hear(provider, ASKED)
    assert [(call.name, call.arguments) for call in heard.calls] == calls
    assert len({call.id for call in heard.calls}) == len(calls)
    assert (heard.error, heard.finishes) == (None, ["tool_calls"])
