"""A known word ends an answer as it means; an unknown one is no good end, and what came before it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from chat.core.events import Usage
from chat.providers.base import Provider
from tests.contracts.hearing import OPENAI, complete, get_failure, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import make_chunk, write_openai_events, write_stream

LENGTHS = [
    "length",
    "model_length",
    "MAX_TOKENS",
    "max_tokens",
    "maxTokens",
    "model_context_window_exceeded",
    "token_limit",
    "ERROR_LIMIT",
    "REASON_MAX_LEN",
    "max_output_tokens",
]
FILTERS = [
    "content_filter",
    "sensitive",
    "SAFETY",
    "content_filter: PROHIBITED_CONTENT",
    "PROHIBITED_CONTENT",
    "RECITATION",
    "BLOCKLIST",
    "SPII",
    "ERROR_TOXIC",
    "guardrail_intervened",
    "content-filter",
    "refusal",
    "FinishReason.SAFETY",
]
STOPS = ["stop", "STOP", "end_turn", "eos_token", "stop_sequence", "COMPLETE", "eos", "FinishReason.STOP", "endTurn"]
NO_GOOD_ENDS = [
    "network_error",
    "function_call_filter: MALFORMED_FUNCTION_CALL",
    "MALFORMED_FUNCTION_CALL",
    "insufficient_system_resource",
    "abort",
    "error",
    "OTHER",
    "USER_CANCEL",
    "time_limit",
    "pondered_enough",
    "stop: but not really",
    "stopped_by_policy",
    "not_finished",
    7,
    True,
    ["stop"],
    {"reason": "stop"},
]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        *((reason, "length") for reason in LENGTHS),
        *((reason, "content_filter") for reason in FILTERS),
        *((reason, "stop") for reason in STOPS),
    ],
)
async def test_a_known_word_for_the_end_has_its_meaning(
    name: str, provider: Provider, server: ProviderServer, reason: str, finish: str
) -> None:
    server.script = Script(raw=write_stream(name, "Hi.", reason))
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", [finish])
    server.script = Script(text="Hi.", finish_reason=reason)
    assert (await complete(provider)).finishes == [finish]


@pytest.mark.parametrize("reason", NO_GOOD_ENDS)
async def test_an_unknown_word_is_no_good_end_and_the_text_is_kept(
    name: str, provider: Provider, server: ProviderServer, reason: Any
) -> None:
    server.script = Script(raw=write_stream(name, "Hi.", reason))
    heard = await hear(provider)
    assert (get_failure(heard).code, heard.text) == ("upstream_error", "Hi.")
    if isinstance(reason, str):
        server.script = Script(text="Hi.", finish_reason=reason)
        assert get_failure(await complete(provider)).code == "upstream_error"
    assert len(server.requests) == 1 + isinstance(reason, str)


@pytest.mark.parametrize("reason", [None, "", "null", "none", "FINISH_REASON_UNSPECIFIED"])
async def test_an_answer_without_a_finish_reason_is_not_complete(
    name: str, provider: Provider, server: ProviderServer, reason: Any
) -> None:
    server.script = Script(raw=write_stream(name, "Hi.", reason))
    heard = await hear(provider)
    assert (get_failure(heard).code, heard.text) == ("upstream_error", "Hi.")


@OPENAI
@pytest.mark.parametrize(
    "reasons",
    [
        pytest.param(["stop", None, None], id="on the first chunk"),
        pytest.param(["stop", "stop", "stop"], id="on every chunk"),
        pytest.param(["null", "null", "stop"], id="null as a word"),
        pytest.param([None, "stop", None], id="in the middle"),
    ],
)
async def test_text_is_text_until_the_end_marker(
    provider: Provider, server: ProviderServer, reasons: list[str | None]
) -> None:
    pieces = ["One ", "two ", "three."]
    events = [make_chunk(piece, reason) for piece, reason in zip(pieces, reasons, strict=True)]
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}}
    server.script = Script(raw=write_openai_events(*events, usage))
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "One two three.", ["stop"])
    assert heard.usage == Usage(5, 6)


@OPENAI
@pytest.mark.parametrize("cut", range(1, 4))
async def test_a_server_that_says_stop_with_each_piece_has_not_ended_when_it_breaks_off(
    provider: Provider, server: ProviderServer, cut: int
) -> None:
    pieces = ["One ", "two ", "three."]
    server.script = Script(raw=write_openai_events(*(make_chunk(piece, "stop") for piece in pieces[:cut]), done=False))
    heard = await hear(provider)
    assert (get_failure(heard).code, heard.text) == ("upstream_error", "".join(pieces[:cut]))


@OPENAI
async def test_a_finish_reason_before_any_text_is_no_end_without_the_marker(
    provider: Provider, server: ProviderServer
) -> None:
    server.script = Script(raw=write_openai_events(make_chunk("", "stop"), done=False))
    assert get_failure(await hear(provider)).code == "upstream_error"


@OPENAI
@pytest.mark.parametrize(("words", "finish"), [(["length", "stop"], "length"), (["stop", "length"], "length")])
async def test_the_worse_of_two_finish_reasons_counts(
    provider: Provider, server: ProviderServer, words: list[str], finish: str
) -> None:
    server.script = Script(raw=write_openai_events(make_chunk("Hi."), *(make_chunk(reason=word) for word in words)))
    assert (await hear(provider)).finishes == [finish]


@OPENAI
@pytest.mark.parametrize("marker", ["[DONE]", "[done]", " [DONE] ", '"[DONE]"', "DONE", "[ DONE ]"])
async def test_the_end_marker_has_variants(provider: Provider, server: ProviderServer, marker: str) -> None:
    server.script = Script(raw=write_openai_events(make_chunk("Hi.", "stop"), marker, done=False))
    heard = await hear(provider)
    assert (heard.error, heard.finishes) == (None, ["stop"])
