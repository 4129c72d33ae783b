"""What a local model thinks between tags at the beginning of its text is reasoning, wherever its deltas are cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.core.events import Reasoning
from chat.providers.thoughts import InlineThoughts
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site, join_text

Told = tuple[str, str]

CASES: list[tuple[str, Told]] = [
    ("<think>Hm.</think>Hello.", ("Hm.", "Hello.")),
    ("<think>\nHm.\n</think>\n\nHello.\n", ("Hm.\n", "Hello.\n")),
    ("\n\n<think>Hm.</think> Hello.", ("Hm.", "Hello.")),
    ("<thinking>Hm.</thinking>Hello.", ("Hm.", "Hello.")),
    ("<thought>Hm.</thought>Hello.", ("Hm.", "Hello.")),
    ("<THINK>Hm.</Think>Hello.", ("Hm.", "Hello.")),
    ("[THINK]Hm.[/THINK]Hello.", ("Hm.", "Hello.")),
    ("<seed:think>Hm.</seed:think>Hello.", ("Hm.", "Hello.")),
    ("<think>\n\n</think>\n\nHello.", ("", "Hello.")),
    ("<think>a</think>\n<think>b</think>Hello.", ("ab", "Hello.")),
    ("<think>a < b, </thin, </thinking> <think></think>Hello.", ("a < b, </thin, </thinking> <think>", "Hello.")),
    ("<think>never closed", ("never closed", "")),
    ("<think>nearly closed</thin", ("nearly closed</thin", "")),
    ("<think>", ("", "")),
    ("<thi", ("", "<thi")),
    ("  \n", ("", "  \n")),
    ("", ("", "")),
    ("Hello <think>there</think>.", ("", "Hello <think>there</think>.")),
    ("`<think>` is a tag.", ("", "`<think>` is a tag.")),
    ("```\n<think>x</think>\n```", ("", "```\n<think>x</think>\n```")),
    ("<thinker> is no tag.", ("", "<thinker> is no tag.")),
    ("< think>no tag</think>", ("", "< think>no tag</think>")),
    ("<table><tr>", ("", "<table><tr>")),
    (
        "Thoughts that were opened in the prompt.</think>Hello.",
        ("", "Thoughts that were opened in the prompt.</think>Hello."),
    ),
    ("<think>Hm.</think>Use <think>tags</think>.", ("Hm.", "Use <think>tags</think>.")),
    (" " * 500 + "<think>too late</think>", ("", " " * 500 + "<think>too late</think>")),
]


def split_thoughts(pieces: Sequence[str]) -> Told:
    thoughts = InlineThoughts()
    found = [piece for text in pieces for piece in thoughts.feed(text)] + list(thoughts.finish())
    reasoning = "".join(text for kind, text in found if kind is Reasoning)
    return reasoning, "".join(text for kind, text in found if kind is not Reasoning)


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_reasoning_and_text_at_every_cut(text: str, expected: Told) -> None:
    assert split_thoughts([text]) == expected
    assert split_thoughts(list(text)) == expected
    for cut in range(len(text) + 1):
        assert split_thoughts([text[:cut], text[cut:]]) == expected


PARTS = [
    "<think>",
    "</think>",
    "<thinking>",
    "</thinking>",
    "[THINK]",
    "[/think]",
    "<thi",
    "</",
    "a",
    " ",
    "\n",
    "`",
    "é",
]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PARTS), max_size=12), st.data())
def test_how_it_is_cut_makes_no_difference_and_no_character_of_the_text_is_lost(parts: list[str], data: Any) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    reasoning, said = split_thoughts(pieces)
    assert (reasoning, said) == split_thoughts([text])
    assert text.endswith(said)
    if not text.lstrip().lower().startswith(("<think>", "<thinking>", "[think]")):
        assert (reasoning, said) == ("", text)


async def test_the_answer_is_without_them_and_so_is_the_history(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.script = Script(text="<think>\nOkay, the sky.\n</think>\n\nIt is blue.", chunk_size=3)
    answer = await site.ask("Why?", model=model)
    assert (answer["text"], answer["reasoning"]) == ("It is blue.", "Okay, the sky.\n")
    events = await site.read_events(answer["id"])
    assert join_text(events) == "It is blue."
    assert "".join(event["content"] for _, event in events if event["type"] == "reasoning") == "Okay, the sky.\n"
    await site.ask("And red?", answer["conversation"], model=model)
    sent = str(provider.requests[1].body["messages"])
    assert "It is blue." in sent
    assert "Okay" not in sent


async def test_thoughts_that_never_end_are_no_answer(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="<think>On and on", finish_reason="length")
    answer = await site.ask()
    assert (answer["text"], answer["reasoning"]) == ("", "On and on")
    assert answer["notices"][0]["code"] == "empty"


@pytest.mark.parametrize("ending", ["eof_after", "drop_after", "error_event_after"])
async def test_a_beginning_that_might_become_a_tag_is_kept_when_the_stream_breaks(
    site: Site, provider: ProviderServer, model: str, ending: str
) -> None:
    provider.script = Script(text="<thin air", chunk_size=1, **{ending: 5})  # type: ignore[arg-type]
    answer = await site.ask(model=model)
    assert (answer["status"], answer["text"]) == ("interrupted", "<thin")


async def test_a_text_about_tags_is_left_alone(site: Site, provider: ProviderServer, model: str) -> None:
    text = "Models write `<think>` first:\n\n```\n<think>x</think>\n```\n"
    provider.script = Script(text=text, chunk_size=2)
    answer = await site.ask(model=model)
    assert (answer["text"], answer["reasoning"]) == (text, "")
