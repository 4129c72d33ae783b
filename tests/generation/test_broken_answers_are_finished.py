"""An answer whose provider breaks off in its middle goes on by itself where the site wants that, or else it ends."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pytest_django import Settings

from chat.models import Message, ProviderCall
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site

TEXT = "".join(f"word{number} 日本 \U0001f469\u200d\U0001f467; " for number in range(12))
REST = "and the rest of it."
CUTS = 100


def break_at_random_places(chance: random.Random) -> list[dict[str, Any]]:
    """Return ways to break off after the first word: by a reset, by a close in the middle of a message, by an end."""
    ways: list[dict[str, Any]] = [{"drop_by": "reset"}, {"drop_by": "close"}, {}]
    breaks = []
    for number in range(CUTS):
        after = chance.randrange(1, len(TEXT))
        way = ways[number % len(ways)]
        breaks.append({**way, "drop_after" if way else "eof_after": after, "chunk_size": chance.randrange(1, 9)})
    return breaks


async def read_calls(answer: Json) -> list[tuple[str, str]]:
    rows = ProviderCall.objects.filter(answer=answer["id"]).order_by("pk")
    return [(row.outcome, row.error_code) async for row in rows]


@pytest.mark.parametrize("most", [1, 0])
async def test_an_answer_broken_off_anywhere_is_continued_once_or_interrupted(
    most: int, site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FINISH_BROKEN = most
    for broken in break_at_random_places(random.Random(18)):
        before = len(provider.requests)
        provider.enqueue(Script(text=TEXT, **broken))
        provider.script = Script(text=REST)
        answer = await site.ask()
        kept = answer["text"].removesuffix(REST) if most else answer["text"]
        assert kept, broken
        assert TEXT.startswith(kept), broken
        calls = [("interrupted", "upstream_error"), ("complete", "")][: 1 + most]
        assert await read_calls(answer) == calls, broken
        assert len(provider.requests) - before == len(calls)
        assert (answer["interruptions"], answer["status"]) == ((1, "complete") if most else (0, "interrupted")), broken
        if not most:
            assert answer["error"]["code"] == "upstream_error"


async def test_an_answer_that_breaks_off_again_is_interrupted(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FINISH_BROKEN = 1
    provider.enqueue(Script(text=TEXT, drop_after=40), Script(text=TEXT, drop_after=40))
    answer = await site.ask()
    assert (answer["status"], answer["error"]["code"], answer["interruptions"]) == ("interrupted", "upstream_error", 1)
    assert (await Message.objects.aget(pk=answer["id"])).breaks == 1
    assert len(provider.requests) == 2
