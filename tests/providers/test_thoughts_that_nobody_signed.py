"""Thoughts that nobody signed: no adapter sends them by itself, and a server that wants some has them in each turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat.providers.adaptations import apply_adaptations
from chat.providers.anthropic_messages import Block, build_messages, write_native_form
from chat.providers.base import Adaptation, Prompt, Thinking, Turn
from chat.providers.capabilities import Capabilities
from chat.providers.refused_parameters import find_adaptation

MODEL = "deepseek-v4"
SEARCH: list[Block] = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "noon"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    {"type": "text", "text": "It is noon."},
]
ASKED = Prompt(
    model=MODEL,
    turns=(Turn("user", "What time is it?"), Turn("assistant", "It is noon."), Turn("user", "Sure?")),
    effort="high",
    capabilities=Capabilities(api="messages", thinking="adaptive", efforts=("low", "high")),
)


def answer_with(**members: object) -> Prompt:
    question, answer, further = ASKED.turns
    return replace(ASKED, turns=(question, replace(answer, **members), further))  # type: ignore[arg-type]


@pytest.mark.parametrize(("signature", "kind"), [("", "no_effort"), ("field:reasoning", "no_reasoning_back")])
def test_only_thoughts_that_are_sent_are_left_out_at_a_refusal(signature: str, kind: str) -> None:
    prompt = answer_with(thinking=(Thinking("Hm.", signature),))
    found = find_adaptation("bad_request", "400 : Unknown parameter: 'reasoning'.", prompt)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize("thinking", [(), (Thinking("Hm.", ""),)])
def test_what_is_sent_because_a_server_wanted_it_is_left_out_for_one_that_refuses_it(
    thinking: tuple[Thinking, ...],
) -> None:
    prompt = replace(answer_with(thinking=thinking), adaptations=(Adaptation("reasoning_back"),))
    found = find_adaptation("bad_request", "400 : Unknown parameter: 'reasoning_content'.", prompt)
    assert found is not None
    assert found.kind == "no_reasoning_back"


@pytest.mark.parametrize(("thinking", "thought"), [((), " "), ((Thinking("Hm.", ""),), "Hm.")])
def test_a_turn_in_its_native_form_has_the_thoughts_that_its_server_wants_and_its_own_blocks(
    thinking: tuple[Thinking, ...], thought: str
) -> None:
    prompt = answer_with(thinking=thinking, native_form=write_native_form(MODEL, SEARCH))
    assert build_messages(prompt)[1]["content"] == SEARCH
    adapted = apply_adaptations(replace(prompt, adaptations=(Adaptation("reasoning_back"),)))
    unsigned = {"type": "thinking", "thinking": thought, "signature": ""}
    assert build_messages(adapted)[1]["content"] == [unsigned, *SEARCH]
