"""Servers that send the beginning of a continued answer back: the stored text has it once, wherever deltas are cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.providers.echo import EchoFilter
from tests.conftest import ANTHROPIC
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site, join_text

CASES = [
    # what the answer has, what comes, what is new of it
    ("One two ", "One two three.", "three."),
    ("One two ", " three.", "three."),
    ("One two ", "three.", "three."),
    ("One two", " three.", " three."),
    ("One two ", "One twofold", "fold"),
    ("One two ", "One four", "One four"),
    ("One two ", "One", "One"),
    ("One two ", "two three.", "two three."),
    ("One two ", "One two", ""),
    ("One two ", "", ""),
    ("a\n\n", "\nb", "b"),
    ("a\n", "\n\nb", "\nb"),
    ("a ", "\nb", "\nb"),
    ("a", "  b", "  b"),
    ("- é 💡 ", "- é 💡 x", "x"),
    ("", " three.", " three."),
]


def filter_echo(begun: str, pieces: Sequence[str]) -> str:
    echo = EchoFilter(begun)
    return "".join(map(echo.feed, pieces)) + echo.finish()


@pytest.mark.parametrize(("begun", "comes", "new"), CASES)
def test_a_repeated_prefill_is_dropped_at_every_cut(begun: str, comes: str, new: str) -> None:
    assert filter_echo(begun, [comes]) == new
    assert filter_echo(begun, list(comes)) == new
    for cut in range(len(comes) + 1):
        assert filter_echo(begun, [comes[:cut], comes[cut:]]) == new


TEXT = st.text(alphabet="ab \n", max_size=8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT, TEXT, st.booleans(), st.data())
def test_an_echo_is_dropped_whole_and_what_is_no_echo_is_kept_whole(
    begun: str, comes: str, echoes: bool, data: Any
) -> None:
    sent = begun.rstrip()
    text = (sent if echoes else "") + comes
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    new = filter_echo(begun, pieces)
    assert new == filter_echo(begun, [text])
    kept = text.removeprefix(sent) if sent and text.startswith(sent) else text
    assert kept.endswith(new)
    assert kept.strip() == new.strip()  # no word of it is lost
    blank = begun[len(sent) :]
    assert kept[: len(kept) - len(new)] == blank[: len(kept) - len(new)]


async def break_off_and_continue(site: Site, provider: ProviderServer, model: str, rest: Script) -> Json:
    half = Script(text="One two three", chunk_size=4, drop_after=8)
    provider.enqueue(half, rest)
    failed = await site.ask("Count", model=model)
    assert failed["text"] == "One two "
    await site.post(f"/api/answers/{failed['id']}/continue/")
    await site.read_events(failed["id"])
    return await site.answer(failed["id"])


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 100])
@pytest.mark.parametrize(
    ("comes", "text"),
    [
        ("One two three.", "One two three."),
        (" three.", "One two three."),
        ("three.", "One two three."),
        ("One four.", "One two One four."),
        ("One", "One two One"),
    ],
    ids=["an echo", "a blank", "the rest", "another text", "less than an echo"],
)
async def test_the_stored_text_has_it_once(
    site: Site, provider: ProviderServer, model: str, size: int, comes: str, text: str
) -> None:
    whole = await break_off_and_continue(site, provider, model, Script(text=comes, chunk_size=size))
    assert (whole["status"], whole["text"]) == ("complete", text)
    assert join_text(await site.read_events(whole["id"])) == text


@pytest.mark.parametrize("ending", ["eof_after", "drop_after", "error_event_after"])
async def test_an_echo_that_breaks_off_before_it_is_clear_what_it_is_stays(
    site: Site, provider: ProviderServer, model: str, ending: str
) -> None:
    rest = Script(text="One two three.", chunk_size=1, **{ending: 3})  # type: ignore[arg-type]
    whole = await break_off_and_continue(site, provider, model, rest)
    assert (whole["status"], whole["text"]) == ("interrupted", "One two One")


async def test_a_tag_in_the_middle_of_a_text_that_is_gone_on_with_is_text(site: Site, provider: ProviderServer) -> None:
    whole = await break_off_and_continue(site, provider, ANTHROPIC, Script(text="<think>x</think>"))
    assert (whole["text"], whole["reasoning"]) == ("One two <think>x</think>", "")
