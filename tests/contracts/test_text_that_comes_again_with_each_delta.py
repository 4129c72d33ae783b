"""A text that its server sends whole with each delta is shown once; repetitions of a model's own are kept."""

from __future__ import annotations

import pytest

from chat.providers.base import Provider
from tests.contracts.hearing import OPENAI, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import make_chunk, write_openai_events

pytestmark = OPENAI

WHOLE = "The sky is blue because air scatters blue light.\n\n| a | b |\n|---|---|\n| 1 | 2 |"
THOUGHT = "Light scatters in the air. That explains it: blue light does so most."
STOP = make_chunk(reason="stop")


def grow(text: str, step: int) -> list[str]:
    """Return the text as far as it has come with each delta."""
    return [text[:end] for end in range(step, len(text) + step, step)]


@pytest.mark.parametrize("step", [1, 3, 8, 20])
@pytest.mark.parametrize("again", [0, 2])
async def test_a_text_that_grows_is_shown_once(
    provider: Provider, server: ProviderServer, step: int, again: int
) -> None:
    """Alibaba's coding plan sends texts and reasoning so, and some of its models the last delta more than once."""
    thoughts = [{"choices": [{"delta": {"reasoning_content": text}}]} for text in grow(THOUGHT, step)]
    texts = [make_chunk(text) for text in [*grow(WHOLE, step), *[WHOLE] * again]]
    server.script = Script(raw=write_openai_events(*thoughts, *texts, STOP))
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, WHOLE, ["stop"])
    assert heard.reasoning == THOUGHT


@pytest.mark.parametrize(
    "deltas",
    [
        ["1", "10", "100", "1000", "10000"],
        ["ha", "haha", "hahaha!"],
        ["Happy birthday to you,\n"] * 4,
        ["Happy birthday to you,\n", "Happy birthday to you,\nHappy birthday, dear Ada,\n", "happy birthday to you!"],
        ["-" * 20, "-" * 40, "-" * 60, "-" * 80],
        ["So", "So"],
        ["Once.", "Once. Twice."],
        ["\n", "\n\n", "Hi."],
    ],
)
async def test_what_a_model_says_twice_is_kept(provider: Provider, server: ProviderServer, deltas: list[str]) -> None:
    server.script = Script(raw=write_openai_events(*map(make_chunk, deltas), STOP))
    heard = await hear(provider)
    assert (heard.error, heard.text) == (None, "".join(deltas))


async def test_what_was_held_back_comes_before_a_call_and_before_a_failure(
    provider: Provider, server: ProviderServer
) -> None:
    call = {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "clock"}}]}}]}
    server.script = Script(raw=write_openai_events(make_chunk("So"), make_chunk("So"), call, STOP))
    assert (await hear(provider)).text == "SoSo"
    server.script = Script(raw=write_openai_events(make_chunk("So"), make_chunk("So"), done=False))
    assert (await hear(provider)).text == "SoSo"
