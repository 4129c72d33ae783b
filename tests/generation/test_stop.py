"""Stop ends the upstream call at once, wherever the answer is, and keeps what was said."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat.models import Message, ProviderCall
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until

# Seconds within which a Stop ends the call: one in the answer's own process, and one that came to another process.
AT_ONCE = 0.5
FROM_ELSEWHERE = 2.0


async def test_stop_before_the_first_word_ends_the_call(site: Site, provider: ProviderServer, model: str) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin(model=model)
    request = await provider.wait_for_requests(1)
    stopped = await site.stop(answer)
    assert (stopped["status"], stopped["text"], stopped["error"]) == ("stopped", "", None)
    await provider.wait_until_closed(request, AT_ONCE)


async def test_stop_in_the_middle_keeps_what_was_said(site: Site, provider: ProviderServer, model: str) -> None:
    provider.script = Script(text="One two three four.", chunk_size=4, gate_after=8)
    answer = await site.begin(model=model)
    await wait_until(lambda: has_text(site, answer, "One two "))
    request = await provider.wait_for_requests(1)
    stopped = await site.stop(answer)
    assert (stopped["status"], stopped["text"]) == ("stopped", "One two ")
    await provider.wait_until_closed(request, AT_ONCE)


async def has_text(site: Site, answer: str, text: str) -> bool:
    return bool((await site.answer(answer))["text"] == text)


async def test_stop_during_a_stall_ends_the_call(site: Site, provider: ProviderServer, model: str) -> None:
    provider.script = Script(text="One two three.", stall_after=3, ping_interval=0.05)
    answer = await site.begin(model=model)
    await wait_until(lambda: has_text(site, answer, "One"))
    began = time.monotonic()
    assert (await site.stop(answer))["status"] == "stopped"
    request = await provider.wait_for_requests(1)
    await provider.wait_until_closed(request, AT_ONCE)
    assert time.monotonic() - began < 2 * AT_ONCE


async def test_a_second_stop_answers_as_the_first(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin()
    first = await site.stop(answer)
    assert await site.stop(answer) == first


async def test_stop_after_the_end_changes_nothing(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Done.")
    whole = await site.ask()
    assert await site.stop(whole["id"]) == whole


async def test_a_stop_written_by_another_process_is_obeyed(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin()
    request = await provider.wait_for_requests(1)
    await Message.objects.filter(pk=answer).aupdate(stop_requested_at=timezone.now())
    await provider.wait_until_closed(request, FROM_ELSEWHERE)
    assert (await site.answer(answer))["status"] == "stopped"


async def test_a_stopped_call_is_on_the_ledger_with_an_estimate(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="12345678 and more", chunk_size=8, gate_after=8)
    answer = await site.begin("123456789")
    await wait_until(lambda: has_text(site, answer, "12345678"))
    await site.stop(answer)
    call = await ProviderCall.objects.aget(answer=UUID(answer))
    assert (call.outcome, call.estimated, call.input_tokens, call.output_tokens) == ("stopped", True, 3, 2)
    assert call.total_ms is not None


@pytest.mark.parametrize("headers", [{}, {"hx-request": "true"}])
async def test_the_pages_stop_button_stops_the_conversations_answer(
    site: Site, provider: ProviderServer, settings: Settings, headers: dict[str, str]
) -> None:
    provider.script = Script(gate_after=0)
    conversation = await site.begin_conversation()
    answer = await site.begin(conversation=conversation)
    response = await site.client.post("/stop/", {"conversation": conversation}, headers=headers)
    assert response.status_code == (204 if headers else 302)
    assert (await site.answer(answer))["status"] == "stopped"


async def test_without_scripts_the_stop_button_leads_to_its_conversation(site: Site, provider: ProviderServer) -> None:
    """Not to wherever the request says that it came from."""
    mine = (await site.ask())["conversation"]
    for conversation, target in ((mine, f"/c/{mine}/"), (str(uuid4()), "/"), ("x", "/"), ("", "/")):
        form = {"conversation": conversation}
        response = await site.client.post("/stop/", form, headers={"referer": "https://elsewhere.example/"})
        assert (response.status_code, response.headers["Location"]) == (302, target)
