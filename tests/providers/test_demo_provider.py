"""The demo says that it is one, in the same words each time, and misbehaves exactly where it is asked to."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import comrak
import pytest

from chat.core.errors import ChatError
from chat.core.events import Finish, ProviderEvent, Reasoning, Token, Usage, make_storable
from chat.providers.base import Prompt, Turn
from chat.providers.demo import TOPICS, DemoProvider, cut_text, write_answer

# A question for each answer about the site, and the answers to the special words that have a whole text.
ABOUT = {
    "interruption": "What survives when I reload the page?",
    "streaming": "How does streaming work?",
    "ledger": "What does the admin show, and the ledger?",
    "keyboard": "Which keyboard shortcuts are there?",
    "api": "Is there an API for my bot?",
}
WHOLE = ["long", "code", "think"]
SPOKEN = [*ABOUT.values(), *WHOLE, "fail", "stall"]


def make_prompt(question: str) -> Prompt:
    return Prompt("tour", (Turn("user", question),))


async def stream_events(question: str, pace: float = 0) -> AsyncIterator[ProviderEvent]:
    async with aclosing(DemoProvider(pace=pace).stream(make_prompt(question))) as batches:
        async for batch in batches:
            assert batch
            for event in batch:
                yield event


async def collect_events(question: str, pace: float = 0) -> list[ProviderEvent]:
    return [event async for event in stream_events(question, pace)]


async def collect_events_before_failure(question: str) -> tuple[list[ProviderEvent], ChatError]:
    events: list[ProviderEvent] = []
    try:
        async for event in stream_events(question):
            events.append(event)  # noqa: PERF401 - what came before the failure is wanted
    except ChatError as error:
        return events, error
    pytest.fail("the answer did not fail")


def join_text(events: Sequence[ProviderEvent]) -> str:
    return "".join(event.content for event in events if isinstance(event, Token))


def render_html(markdown: str) -> str:
    extensions = comrak.ExtensionOptions()
    extensions.table = extensions.tasklist = extensions.autolink = extensions.strikethrough = True
    extensions.math_dollars = True
    return comrak.render_markdown(markdown, extensions)


# What every answer is


@pytest.mark.parametrize("question", ["", "Hello", "Good morning, what can you do?", *SPOKEN])
def test_its_first_sentence_says_that_it_is_a_demo(question: str) -> None:
    assert "demo" in re.split(r"(?<=[.:!?]) ", write_answer(question))[0]


@pytest.mark.parametrize("question", ABOUT.values())
def test_it_says_at_its_beginning_how_to_connect_a_model(question: str) -> None:
    beginning = write_answer(question).partition("\n## ")[0]
    assert "no model is answering" in beginning
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL"):
        assert variable in beginning


async def test_it_ends_with_its_end_marker_and_then_its_usage() -> None:
    events = await collect_events("Hello")
    text = join_text(events)
    assert events[-2:] == [Finish("stop"), Usage(2, -(-len(text) // 4))]


@pytest.mark.parametrize("question", [*ABOUT.values(), *WHOLE])
async def test_the_same_question_has_the_same_answer_in_the_same_pieces(question: str) -> None:
    events = await collect_events(question)
    assert events == await collect_events(question)
    assert join_text(events) == write_answer(question)


@pytest.mark.parametrize("question", SPOKEN)
def test_its_pieces_have_three_to_five_characters(question: str) -> None:
    *most, last = cut_text(write_answer(question))
    assert {len(piece) for piece in most} == {3, 4, 5}
    assert 1 <= len(last) <= 5


@pytest.mark.parametrize("question", [*ABOUT.values(), *WHOLE, "a NUL \x00 and half a character \ud83d"])
async def test_its_text_is_storable(question: str) -> None:
    text = join_text(await collect_events(question))
    assert make_storable(text) == text


@pytest.mark.parametrize("question", SPOKEN)
def test_it_shows_no_links_and_its_python_is_python(question: str) -> None:
    answer = write_answer(question)
    assert "<a " not in render_html(answer)
    for code in re.findall(r"```python\n(.*?)```", answer, re.DOTALL):
        compile(code, "<demo>", "exec")


# Answers about the site


@pytest.mark.parametrize(("topic", "question"), ABOUT.items())
def test_an_answer_is_chosen_by_the_words_of_the_question(topic: str, question: str) -> None:
    headings = {name: re.findall("^## .*", write_answer(asked), re.MULTILINE)[0] for name, asked in ABOUT.items()}
    assert len(set(headings.values())) == len(TOPICS) == len(ABOUT)
    assert headings[topic] in write_answer(f"Please tell me: {question.lower()}")


def test_questions_about_other_things_are_given_one_answer_or_another() -> None:
    headings = {re.findall("^## .*", write_answer(f"Tell me about {n} whales"), re.MULTILINE)[0] for n in range(40)}
    assert len(headings) == len(TOPICS)


@pytest.mark.parametrize("question", ABOUT.values())
def test_an_answer_shows_what_the_renderer_can(question: str) -> None:
    html = render_html(write_answer(question))
    for part in (
        "<h2>",
        "<h3>",
        "<ul>",
        "<table>",
        '<code class="language-python">',
        'type="checkbox" checked',
        "<blockquote>",
        'data-math-style="inline"',
        'data-math-style="display"',
        "<strong>",
        "<em>",
    ):
        assert part in html


@pytest.mark.parametrize("question", ABOUT.values())
def test_an_answer_ends_with_a_table_of_what_to_try(question: str) -> None:
    table = write_answer(question).partition("## Try this\n\n")[2]
    names = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    assert names == ["long", "code", "think", "fail", "stall", "silent", "rate limit"]
    assert render_html(table).rstrip().endswith("</table>")


def test_a_greeting_is_returned() -> None:
    assert write_answer("good MORNING to you").startswith("**Good morning, this is a demo")
    assert write_answer("history").startswith("**This is a demo")


def test_the_question_is_quoted_on_one_line() -> None:
    assert "\n> Why is the sky blue?\n" in write_answer("Why is\n\n the sky blue?")


@pytest.mark.parametrize(
    "question",
    [
        "*a* _b_ **c**",
        "[1] and (2), \\[3\\], \\(4\\), $5$ and $$6$$",
        "# a",
        "- a",
        "+ a",
        "1. a",
        "12) a",
        "> a",
        "`a",
        "a <b>b</b> &amp;",
        "[a](b) ![c](d)",
        "$a$ ~~b~~",
        "| a | b |",
        "===",
        "---",
        "- [ ] a",
        "{question} {0}",
        "a\\",
        "-5 + 3 = -2",
    ],
)
def test_the_markup_of_a_question_is_shown_and_not_obeyed(question: str) -> None:
    quote = render_html(write_answer(question)).partition("<blockquote>\n")[2].partition("\n</blockquote>")[0]
    shown = question.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert quote == f"<p>{shown}</p>"


def test_a_long_question_is_cut() -> None:
    quote = write_answer("why " * 25_000).partition("\n> ")[2].partition("\n")[0]
    assert len(quote) < 210
    assert quote.endswith("why…")


async def test_it_answers_what_the_user_said_last() -> None:
    turns = (Turn("system", "Be brief."), Turn("user", "fail"), Turn("assistant", "long"), Turn("user", "Why?"))
    batches = [batch async for batch in DemoProvider(pace=0).stream(Prompt("tour", turns))]
    events = [event for batch in batches for event in batch]
    assert join_text(events) == write_answer("Why?")
    assert isinstance(events[-1], Usage)
    assert events[-1].input_tokens == 3 + 1 + 1 + 1


# The special words


@pytest.mark.parametrize("question", ["longer than ever", "a long story", "failure", "fail-safe", "coded", "thinking"])
def test_a_special_word_is_a_word_and_stands_first(question: str) -> None:
    assert "You asked:" in write_answer(question)


@pytest.mark.parametrize("question", ["LONG", "long answer, please", "  long: one", "`long`", "Long!"])
def test_a_special_word_is_known_in_any_case_and_with_others_behind_it(question: str) -> None:
    assert write_answer(question) == write_answer("long")


def test_a_long_answer_is_long_and_repeats_nothing() -> None:
    answer = write_answer("long")
    paragraphs = answer.split("\n\n")
    assert 1_400 < len(answer.split()) < 1_800
    assert answer.count("\n## ") >= 5
    assert len(set(paragraphs)) == len(paragraphs)


def test_a_code_answer_has_blocks_in_two_languages() -> None:
    assert re.findall(r"^```(\w+)$", write_answer("code"), re.MULTILINE) == ["python", "sql"]


async def test_a_thoughtful_answer_begins_with_its_reasoning() -> None:
    events = await collect_events("think about it")
    kinds = [type(event) for event in events]
    assert kinds[0] is Reasoning
    assert kinds.index(Token) > max(index for index, kind in enumerate(kinds) if kind is Reasoning)
    assert isinstance(events[-1], Usage)
    assert 0 < events[-1].reasoning_tokens < events[-1].output_tokens


async def test_a_failure_comes_in_the_middle_of_the_second_paragraph() -> None:
    events, error = await collect_events_before_failure("Fail!")
    assert error.code == "upstream_error"
    assert join_text(events).count("\n\n") == 1
    assert join_text(events).endswith("cut off in the")
    assert {type(event) for event in events} == {Token}


@pytest.mark.parametrize("question", ["rate limit", "Rate-limit me", "ratelimit"])
async def test_a_refusal_comes_before_the_first_word(question: str) -> None:
    events, error = await collect_events_before_failure(question)
    assert events == []
    assert (error.code, error.retry_after) == ("rate_limited", 3)


@pytest.mark.parametrize(("question", "text"), [("stall", write_answer("stall")), ("silent, please", "")])
async def test_a_silence_lasts_until_its_reader_is_cancelled(question: str, text: str) -> None:
    events: list[ProviderEvent] = []

    async def read() -> None:
        async for event in stream_events(question):
            events.append(event)  # noqa: PERF401 - what came before the silence is wanted

    reading = asyncio.create_task(read())
    done, _ = await asyncio.wait([reading], timeout=0.3)
    assert not done
    assert join_text(events) == text
    reading.cancel()
    done, _ = await asyncio.wait([reading], timeout=1)
    assert reading.cancelled()


async def test_closing_ends_an_answer_at_once() -> None:
    batches = DemoProvider().stream(make_prompt("long"))
    await anext(batches)
    await asyncio.wait_for(batches.aclose(), 1)
    assert [batch async for batch in batches] == []


# The pace


async def measure_duration(question: str, pace: float) -> float:
    began = time.monotonic()
    await collect_events(question, pace)
    return time.monotonic() - began


async def test_twice_the_pace_is_about_half_the_time() -> None:
    slow, fast = await asyncio.gather(measure_duration("think", 2), measure_duration("think", 4))
    assert 0.3 < fast / slow < 0.85


async def test_without_a_pace_there_is_no_waiting() -> None:
    assert await measure_duration("long", 0) < 5


async def test_a_human_pace_is_some_fifty_tokens_a_second_after_a_moment() -> None:
    began = time.monotonic()
    async with aclosing(DemoProvider().stream(make_prompt("Hello"))) as batches:
        await anext(batches)
        first = time.monotonic()
        for _ in range(50):
            await anext(batches)
    # A loaded machine may be slower, never faster.
    assert 0.29 < first - began < 3
    assert 50 / 60 < time.monotonic() - first < 6


@pytest.mark.parametrize("pace", [-1, float("nan")])
def test_a_pace_below_zero_is_refused(pace: float) -> None:
    with pytest.raises(ValueError, match="pace"):
        DemoProvider(pace=pace)
