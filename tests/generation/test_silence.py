"""A model may think for minutes while its connection lives. A connection that is dead ends its answer in time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import pytest
from prometheus_client import REGISTRY
from pytest_django import Settings

from chat.core.events import ProviderEvent, Reasoning, Token, ToolArguments, ToolCall
from chat.generation.process import get_runner
from chat.generation.silence_clock import SilenceClock
from chat.providers import registry
from chat.providers.base import THINKING, Prompt, Turn
from chat.providers.capabilities import Capabilities
from tests.support.fed_provider import DOTTED_PATH, FedProvider
from tests.support.moving_clock import MovingClock
from tests.support.site import Positioned, Site
from tests.support.waiting import wait_until

FIRST, IDLE, THINKS = 30, 60, 600

Batch = Sequence[ProviderEvent]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> MovingClock:
    settings.CHAT_FIRST_TOKEN_TIMEOUT, settings.CHAT_IDLE_TIMEOUT, settings.CHAT_THINKING_TIMEOUT = FIRST, IDLE, THINKS
    # The clock jumps by minutes, in which no reader is seen: the answer would be abandoned before it is too silent.
    settings.CHAT_ABANDON_AFTER = 0
    return MovingClock(monkeypatch)


def make_prompt(**capabilities: object) -> Prompt:
    return Prompt("model", (Turn("user", "Hello"),), capabilities=Capabilities(**capabilities))  # type: ignore[arg-type]


HEARD: list[tuple[str, list[Batch], dict[str, object], int]] = [
    ("nothing at all", [], {}, FIRST),
    ("nothing, from a server that may send nothing", [], {"silent_thinking": True}, THINKS),
    ("a ping, then nothing", [[]], {}, IDLE),
    ("a word, then nothing", [[Token("One")]], {}, IDLE),
    ("a word, then nothing, where thinking is silent", [[Token("One")]], {"silent_thinking": True}, IDLE),
    ("reasoning, then nothing", [[Reasoning("Hm")]], {}, IDLE),
]


@pytest.mark.parametrize(
    ("batches", "capabilities", "seconds"), [row[1:] for row in HEARD], ids=[row[0] for row in HEARD]
)
def test_a_silent_connection_has_its_own_deadline(
    clock: MovingClock, batches: list[Batch], capabilities: dict[str, object], seconds: int
) -> None:
    silence = SilenceClock(make_prompt(**capabilities))
    for batch in batches:
        hear(silence, batch)
    assert silence.seconds_left == pytest.approx(seconds, abs=1)


LIVING: list[tuple[str, list[Batch], int]] = [
    ("before the first word", [], THINKS),
    ("after a piece of reasoning", [[Reasoning("Hm")]], THINKS),
    ("while a tool's arguments are prepared", [[ToolCall("a", "clock")]], THINKS),
    ("between two arguments", [[ToolCall("a", "clock"), ToolArguments("a", "{")]], THINKS),
    ("in the middle of a text", [[Token("One")]], IDLE),
    ("when it thinks again after a text", [[Token("One")], [THINKING]], THINKS),
    ("when it thinks again in the read that ends a text", [[Token("One"), THINKING]], THINKS),
]


@pytest.mark.parametrize(("batches", "seconds"), [row[1:] for row in LIVING], ids=[row[0] for row in LIVING])
def test_a_connection_that_lives_gives_a_model_time_to_think(
    clock: MovingClock, batches: list[Batch], seconds: int
) -> None:
    """A ping every 20 seconds, and no content."""
    silence = SilenceClock(make_prompt())
    for batch in batches:
        hear(silence, batch)
    passed = 0
    while silence.seconds_left > 0 and passed < 2 * THINKS:
        clock.advance(20)
        passed += 20
        if silence.seconds_left > 0:
            silence.note_sign([])
    assert passed == pytest.approx(seconds, abs=20)


def hear(silence: SilenceClock, batch: Batch) -> None:
    if batch and batch[0] is not THINKING:
        silence.note_content(batch)
    else:
        silence.note_sign(batch)


@pytest.fixture
def fed(
    site: Site, monkeypatch: pytest.MonkeyPatch, settings: Settings, clock: MovingClock
) -> Callable[[], FedProvider]:
    """The provider that answers for `fed:model`, on the test's event loop."""
    monkeypatch.setitem(registry.PROVIDERS, "fed", DOTTED_PATH)
    settings.CHAT_MODELS = ["fed:model"]

    def get() -> FedProvider:
        provider = get_runner().pool.get("fed")
        assert isinstance(provider, FedProvider)
        return provider

    return get


async def begin(site: Site, provider: FedProvider) -> AsyncGenerator[Positioned, None]:
    """Ask, and return the answer's events after its start: an answer that nobody follows would be abandoned."""
    answer = await site.begin(model="fed:model")
    await asyncio.wait_for(provider.is_asked.wait(), 10)
    events = site.follow(answer)
    assert (await anext(events)).event["type"] == "start"
    return events


async def test_four_minutes_of_thinking_are_told_and_then_answered(
    site: Site, fed: Callable[[], FedProvider], clock: MovingClock
) -> None:
    provider = fed()
    async with aclosing(await begin(site, provider)) as events:
        await provider.feed([THINKING])
        for seconds in range(20, 241, 20):
            clock.advance(20)
            await provider.feed([])
            notice = (await anext(events)).event
            assert (notice["type"], notice["code"]) == ("notice", "thinking")
            told = re.fullmatch(r"Thinking… (\d+) s", notice["message"])
            assert told is not None
            assert seconds <= int(told[1]) <= seconds + 15  # 15 s for the test itself
        await provider.finish("At last.")
        rest = [event async for _, event in events]
    assert [event["content"] for event in rest if event["type"] == "token"] == ["At last."]
    assert rest[-1]["type"] == "done"


@pytest.mark.parametrize(
    ("heard", "seconds"), [([], FIRST), ([[]], IDLE), ([[THINKING]], IDLE), ([[Token("One")]], IDLE)]
)
async def test_a_dead_connection_ends_its_answer(
    site: Site, fed: Callable[[], FedProvider], clock: MovingClock, heard: list[Batch], seconds: int
) -> None:
    provider = fed()
    async with aclosing(await begin(site, provider)) as events:
        await provider.feed(*heard)
        clock.advance(seconds - 5)
        await asyncio.sleep(0.1)  # time in which it must not be cut off: the clock stands still
        assert not provider.is_closed.is_set()
        clock.advance(10)
        rest = [event async for _, event in events]
    assert (rest[-1]["type"], rest[-1]["code"]) == ("error", "timeout")
    assert provider.is_closed.is_set()


def count_pages() -> float:
    """Return how many pages follow an answer now."""
    return REGISTRY.get_sample_value("chat_followers", {"kind": "page"}) or 0


async def read_page(site: Site, answer: str) -> str:
    stream = await site.stream(f"/answers/{answer}/stream/?after=0")
    return b"".join([chunk async for chunk in stream]).decode()


@pytest.mark.parametrize(("batch", "is_shown"), [([THINKING], True), ([Reasoning("Hm. ")], False)])
async def test_the_page_counts_the_seconds_where_no_reasoning_does(
    site: Site, fed: Callable[[], FedProvider], clock: MovingClock, batch: Batch, is_shown: bool
) -> None:
    provider = fed()
    answer = await site.begin(model="fed:model")
    await asyncio.wait_for(provider.is_asked.wait(), 10)
    others = count_pages()
    page = asyncio.ensure_future(read_page(site, answer))
    await wait_until(lambda: count_pages() > others)
    await provider.feed(batch)
    async with aclosing(site.follow(answer)) as events:
        clock.advance(20)
        await provider.feed([])
        async for _, event in events:
            if event["type"] == "notice":
                assert event["code"] == "thinking"
                break
        await provider.finish("At last.")
        assert ("data-countup" in await page) == is_shown
