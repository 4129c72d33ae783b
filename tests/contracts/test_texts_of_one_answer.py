"""Texts of one answer that something stands between are paragraphs; they go back as the texts that they were."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chat.providers.base import Provider, Turn
from tests.contracts.hearing import ANTHROPIC, PROMPT, complete, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import end_message, open_answer, write_anthropic_events

RESPONSES = pytest.mark.parametrize("name", ["responses"], indirect=True)
TEXTS = [("commentary", "I look."), ("final_answer", "It is blue.")]


def make_messages() -> list[dict[str, Any]]:
    return [
        {"type": "message", "id": f"msg_{place}", "phase": phase, "content": [{"type": "output_text", "text": text}]}
        for place, (phase, text) in enumerate(TEXTS)
    ]


def make_end(**members: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 2}
    return {"type": "response.completed", "response": {"status": "completed", "usage": usage, **members}}


def list_message_events(*, has_deltas: bool) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for place, item in enumerate(make_messages()):
        where = {"item_id": item["id"], "output_index": place}
        events.append({"type": "response.output_item.added", "output_index": place, "item": {**item, "content": []}})
        if has_deltas:
            middle = len(TEXTS[place][1]) // 2
            pieces = TEXTS[place][1][:middle], TEXTS[place][1][middle:]
            events += [{"type": "response.output_text.delta", **where, "delta": piece} for piece in pieces]
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    return events


@RESPONSES
@pytest.mark.parametrize("has_deltas", [True, False], ids=["in deltas", "in whole items"])
async def test_a_commentary_and_the_answer_are_paragraphs_and_go_back_as_two_messages(
    provider: Provider, server: ProviderServer, has_deltas: bool
) -> None:
    server.script = Script(raw=write_anthropic_events(*list_message_events(has_deltas=has_deltas), make_end()))
    heard = await hear(provider)
    assert (heard.error, heard.text) == (None, "I look.\n\nIt is blue.")
    said = Turn("assistant", heard.text, native_form=heard.native_form)
    await hear(provider, replace(PROMPT, turns=(*PROMPT.turns, said, Turn("user", "Why?"))))
    sent = [(item.get("phase"), item["content"]) for item in server.requests[1].body["input"] if "phase" in item]
    assert sent == TEXTS


@RESPONSES
async def test_the_whole_answer_is_the_text_of_the_stream(provider: Provider, server: ProviderServer) -> None:
    body = {"status": "completed", "output": make_messages()}
    server.script = Script(raw=json.dumps(body), raw_type="application/json")
    assert (await complete(provider)).text == "I look.\n\nIt is blue."


@RESPONSES
async def test_ids_that_change_with_every_delta_part_no_text(provider: Provider, server: ProviderServer) -> None:
    """GitHub Copilot's do."""
    events = [
        {**event, **({"item_id": f"id_{place}"} if "delta" in event["type"] else {})}
        for place, event in enumerate(list_message_events(has_deltas=True)[:3])
    ]
    server.script = Script(raw=write_anthropic_events(*events, make_end()))
    assert (await hear(provider)).text == "I look."


def make_block(index: int, block: dict[str, Any], text: str = "") -> list[dict[str, Any]]:
    delta = {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}
    start = {"type": "content_block_start", "index": index, "content_block": block}
    return [start, *([delta] if text else []), {"type": "content_block_stop", "index": index}]


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sky"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "abc"}


@ANTHROPIC
@pytest.mark.parametrize(
    ("first", "between", "second", "text"),
    [
        pytest.param("I look.", [SEARCH, FOUND], "It is blue.", "I look.\n\nIt is blue.", id="a search"),
        pytest.param("I think.", [THOUGHT], "It is blue.", "I think.\n\nIt is blue.", id="a thought"),
        pytest.param("I look. ", [SEARCH, FOUND], "It is blue.", "I look. It is blue.", id="a blank"),
        pytest.param("It is ", [], "blue.", "It is blue.", id="nothing, as around citations"),
        pytest.param("It is", [], " blue.", "It is blue.", id="nothing"),
        pytest.param("", [SEARCH, FOUND], "It is blue.", "It is blue.", id="no text before"),
        pytest.param("It is blue.", [SEARCH, FOUND], "", "It is blue.", id="no text after"),
    ],
)
async def test_what_stands_between_two_texts_makes_them_paragraphs(
    provider: Provider, server: ProviderServer, first: str, between: list[dict[str, Any]], second: str, text: str
) -> None:
    events = make_block(0, {"type": "text", "text": ""}, first)
    for place, block in enumerate(between, 1):
        events += make_block(place, block)
    events += make_block(len(between) + 1, {"type": "text", "text": ""}, second)
    server.script = Script(raw=write_anthropic_events(open_answer(), *events, *end_message()))
    heard = await hear(provider)
    assert (heard.error, heard.text) == (None, text)
    whole = [{"type": "text", "text": first}, *between, {"type": "text", "text": second}]
    body = {"content": whole, "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2}}
    server.script = Script(raw=json.dumps(body), raw_type="application/json")
    assert (await complete(provider)).text == text
