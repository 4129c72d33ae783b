"""An answer whose process is gone is taken up by one other process, and its readers go on at their positions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.models import Message, ProviderCall, User
from chat.providers.adaptations import CONTINUE_INSTRUCTION
from tests.provider_server import ProviderServer, Script
from tests.support.lost_answers import keep_lost_answer
from tests.support.metrics import scrape
from tests.support.site import Site, join_text
from tests.support.waiting import wait_until

REST = Script(text=" and what was not.")


@pytest.fixture(autouse=True)
def _lost_answers_go_on(settings: Settings) -> None:
    settings.CHAT_FINISH_LOST = 1


NOTICE = "The server that was writing this answer went away; another one has taken over."


async def sweep_and_wait_for_end(answer: Message) -> Message:
    """Have a sweep find the answer, wait until it has ended, and return it."""

    async def is_over() -> bool:
        await answer.arefresh_from_db()
        return not answer.is_live

    get_runner().supervisor.sweeper.sweep_soon()
    await wait_until(is_over)
    return answer


async def lose(answer: Message, **fields: Any) -> Message:
    """Have an answer's lease end a second ago, set other fields, and return the answer."""
    over = timezone.now() - timedelta(seconds=1)
    await Message.objects.filter(pk=answer.pk).aupdate(**{"lease_until": over, **fields})
    return answer


def list_last_messages(provider: ProviderServer) -> list[tuple[str, str]]:
    """Return the role and the text of each message in the last request."""
    return [(turn["role"], str(turn.get("content"))) for turn in provider.requests[-1].body["messages"]]


async def test_a_lost_answer_goes_on_where_it_was_cut_off(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    answer = await sweep_and_wait_for_end(await sync_to_async(keep_lost_answer)(site.user))
    assert (answer.status, answer.error_code, answer.text) == ("complete", "", "What was said and what was not.")
    assert list_last_messages(provider)[-2:] == [("assistant", "What was said"), ("user", CONTINUE_INSTRUCTION)]
    assert [entry if isinstance(entry, dict) else entry[0] for entry in answer.outline] == [
        "token",
        {"type": "continued"},
        "token",
    ]


async def test_that_it_was_interrupted_stays_on_record(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    answer = await sweep_and_wait_for_end(await sync_to_async(keep_lost_answer)(site.user))
    assert (answer.losses, answer.breaks, answer.interrupted_by) == (1, 0, "server_lost")
    assert (await site.answer(str(answer.pk)))["interruptions"] == 1
    page = (await site.get(f"/c/{answer.conversation_id}/")).content.decode()
    assert "Finished after an interruption" in page


async def test_each_call_of_a_finished_lost_answer_is_on_the_ledger(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    answer = await sweep_and_wait_for_end(await sync_to_async(keep_lost_answer)(site.user, "12345678"))
    rows = ProviderCall.objects.filter(answer=answer).order_by("pk")
    told = [(row.outcome, row.error_code, row.output_tokens, row.start) async for row in rows]
    assert told == [("interrupted", "server_lost", 2, None), ("complete", "", 34, 10)]
    assert len(provider.requests) == 1


async def test_an_answer_without_a_word_is_asked_again(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    answer = await sweep_and_wait_for_end(await sync_to_async(keep_lost_answer)(site.user, ""))
    assert (answer.status, answer.text, answer.outline) == ("complete", REST.text, [["token", len(REST.text)]])
    assert list_last_messages(provider)[-1] == ("user", "Why?")


async def test_readers_of_a_lost_answer_are_told_and_follow_it_on(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    answer = await sync_to_async(keep_lost_answer)(site.user, ago=-60)
    reading = asyncio.ensure_future(site.read_events(str(answer.pk)))

    async def is_watched() -> bool:
        await answer.arefresh_from_db()
        return answer.watched_at is not None

    await wait_until(is_watched)
    await sweep_and_wait_for_end(await lose(answer))
    events = await asyncio.wait_for(reading, 10)
    assert [event["type"] for _, event in events] == ["start", "token", "notice", "token", "usage", "done"]
    assert events[2].event["code"] == "resumed"
    assert events[2].event["message"] == NOTICE
    assert join_text(events) == answer.text
    # The joint takes two positions, as that of Continue does, so no two events have the same position.
    assert [position for position, _ in events] == [0, 13, 15, 33, 34, 35]


async def test_a_reader_who_comes_back_later_misses_nothing(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    answer = await sweep_and_wait_for_end(await sync_to_async(keep_lost_answer)(site.user))
    for after in range(answer.position + 1):
        events = await site.read_events(str(answer.pk), after)
        seen = answer.text[: min(after, 13)] + answer.text[13 : max(13, after - 2)]
        assert seen + join_text(events) == answer.text


async def test_a_lost_answer_with_reasoning_alone_is_asked_again(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    answer = await sync_to_async(keep_lost_answer)(site.user, "", ago=-60)
    said = {"reasoning": "Hm.", "outline": [["reasoning", 3]], "position": 3}
    answer = await sweep_and_wait_for_end(await lose(answer, **said))
    assert (answer.text, answer.reasoning) == (REST.text, "Hm.")
    assert list_last_messages(provider)[-1] == ("user", "Why?")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"response_schema": {"type": "object"}}, "interrupted"),
        ({"stop_requested_at": timezone.now()}, "stopped"),
        ({"losses": 1}, "interrupted"),
        ({"lease_until": timezone.now() - timedelta(days=1)}, "interrupted"),
        ({"model": "openai:gone"}, "interrupted"),
    ],
    ids=["by a schema", "stopped", "gone on with before", "lost long ago", "its model is not offered any more"],
)
async def test_lost_answers_that_cannot_be_continued_are_left_as_they_are(
    site: Site, provider: ProviderServer, fields: dict[str, Any], status: str
) -> None:
    answer = await sync_to_async(keep_lost_answer)(site.user, ago=-60)
    answer = await sweep_and_wait_for_end(await lose(answer, **fields))
    assert (answer.status, answer.text) == (status, "What was said")
    assert not provider.requests
    assert [row.outcome async for row in ProviderCall.objects.all()] == [status]


async def test_a_site_may_leave_all_lost_answers_interrupted(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FINISH_LOST = 0
    answer = await sweep_and_wait_for_end(await sync_to_async(keep_lost_answer)(site.user))
    assert (answer.status, answer.error_code, answer.losses) == ("interrupted", "server_lost", 0)
    assert not provider.requests


async def test_without_room_in_the_users_limits_it_stays_interrupted(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 5
    answer = await sweep_and_wait_for_end(await sync_to_async(keep_lost_answer)(site.user))
    assert (answer.status, answer.error_code, answer.text) == ("interrupted", "server_lost", "What was said")
    assert (answer.losses, answer.outline, answer.position) == (0, [["token", 13]], 13)
    assert not provider.requests
    assert [row.outcome async for row in ProviderCall.objects.all()] == ["interrupted"]


async def test_a_user_who_was_deactivated_gets_no_more(site: Site, provider: ProviderServer) -> None:
    answer = await sync_to_async(keep_lost_answer)(site.user)
    await User.objects.aupdate(is_active=False)
    answer = await sweep_and_wait_for_end(answer)
    assert answer.status == "interrupted"
    assert not provider.requests


async def test_of_simultaneous_sweeps_one_takes_each_lost_answer(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    lost = [await sync_to_async(keep_lost_answer)(site.user) for _ in range(6)]
    await asyncio.gather(*(get_runner().supervisor.sweeper.sweep() for _ in range(5)))
    for answer in lost:
        assert (await sweep_and_wait_for_end(answer)).status == "complete"
    assert len(provider.requests) == 6


async def test_metrics_count_what_was_gone_on_with_and_finished(site: Site, provider: ProviderServer) -> None:
    provider.script = REST
    labels = {"model": "openai:gpt-test", "code": "server_lost"}
    before = await scrape()
    await sweep_and_wait_for_end(await sync_to_async(keep_lost_answer)(site.user))
    after = await scrape()
    for outcome in ("gone_on", "finished"):
        of = {"name": "chat_recoveries_total", **labels, "outcome": outcome}
        assert after.get_sample(**of) - before.get_sample(**of) == 1
