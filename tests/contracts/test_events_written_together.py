"""What a gateway writes into one event is read as the events that it was, and half an event costs no text before it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from chat.providers.base import Provider
from tests.contracts.hearing import OPENAI, complete, get_failure, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import make_chunk, write_openai_events, write_stream

SLOW = json.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down.", "code": "429"}})


def list_data(name: str, text: str) -> list[str]:
    """Return the data of the events of a whole stream."""
    lines = write_stream(name, text, "stop").splitlines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


@pytest.mark.parametrize("joint", ["", " ", "\t"])
@pytest.mark.parametrize("http_chunk_size", [0, 7])
async def test_objects_in_one_line_of_data_are_as_many_events(
    name: str, provider: Provider, server: ProviderServer, joint: str, http_chunk_size: int
) -> None:
    for together in (2, 20):
        data = list_data(name, "Hi. é😀")
        lines = [joint.join(data[start : start + together]) for start in range(0, len(data), together)]
        raw = "".join(f"data: {line}\n\n" for line in lines)
        server.script = Script(raw=raw, http_chunk_size=http_chunk_size)
        heard = await hear(provider)
        assert (heard.error, heard.text, heard.finishes) == (None, "Hi. é😀", ["stop"])


async def test_the_last_of_them_need_no_blank_line(name: str, provider: Provider, server: ProviderServer) -> None:
    data = list_data(name, "Hi.")
    server.script = Script(raw=f"data: {''.join(data)}\n")
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", ["stop"])
    place = next(place for place, event in enumerate(data) if "Hi." in event)
    server.script = Script(raw=f"data: {''.join(data[: place + 1])}{data[place][:-4]}\n")
    assert (await hear(provider)).text == "Hi."


@OPENAI
async def test_a_line_of_many_objects_is_read_in_time_that_grows_with_it(
    provider: Provider, server: ProviderServer
) -> None:
    event, times = json.dumps({"nothing": "x" * 190}), []
    for events in (2_500, 20_000):
        server.script = Script(raw=f"data: {event * events}x\n\n")
        began = time.process_time()
        await hear(provider)
        times.append(time.process_time() - began)
    assert times[1] < 25 * times[0]  # eight times as long; it was 100 where each was cut off what follows it


async def test_half_an_object_behind_a_whole_one_costs_itself_alone(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    data = list_data(name, "Hi.")
    place = next(place for place, event in enumerate(data) if "Hi." in event)
    whole = "".join(f"data: {event}\n\n" for event in data[:place])
    server.script = Script(raw=f'{whole}data: {data[place]}{{"half": "\n\n')
    heard = await hear(provider)
    assert (get_failure(heard).code, heard.text, heard.finishes) == ("upstream_error", "Hi.", [])


async def test_an_error_behind_half_an_event_has_its_code(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    """So sub2api writes that its provider has gone, into the event that it was writing."""
    server.script = Script(raw=f'data: {{"half": "\ndata: {SLOW}\n\n')
    assert get_failure(await hear(provider)).code == "rate_limited"


async def test_an_error_in_the_line_of_a_text_has_its_code_and_the_text_is_kept(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    data = list_data(name, "Hi.")
    place = next(place for place, event in enumerate(data) if "Hi." in event)
    server.script = Script(raw=f"data: {''.join(data[: place + 1])}{SLOW}\n\n")
    heard = await hear(provider)
    assert (get_failure(heard).code, heard.text) == ("rate_limited", "Hi.")


@OPENAI
@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize("head", ["data: ", ": OPENROUTER PROCESSING\n\ndata: ", ": OPENROUTER PROCESSING\n\n"])
async def test_a_whole_answer_as_the_only_event_needs_no_end_marker(
    provider: Provider, server: ProviderServer, head: str, ask: Any
) -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "length"}]}
    server.script = Script(raw=f"{head}{json.dumps(body)}\n\n")
    heard = await ask(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, "Hi.", ["length"])


@OPENAI
async def test_a_piece_of_text_with_a_finish_reason_still_needs_one(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(raw=write_openai_events(make_chunk("Hi.", "stop"), done=False))
    heard = await hear(provider)
    assert (get_failure(heard).code, heard.text) == ("upstream_error", "Hi.")
