"""Nobody uses more than they may: a call is reserved before it begins, and what it really took is settled after it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from itertools import chain, repeat
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import IntegrityError
from django.test import Client
from pytest_django import Settings

from chat.accounting.formatting import write_dollars
from chat.accounting.meters import recount
from chat.accounting.periods import find_window
from chat.accounting.policies import find_limits
from chat.accounting.quotas import Quota, QuotaError, Standing, admit, find_standing
from chat.core.events import Usage
from chat.core.prices import Price
from chat.generation.lost_answers import seize_expired, settle_lost
from chat.generation.store import CallResult, settle_call
from chat.generation.verdict import make_interruption
from chat.models import Conversation, Limit, Message, Meter, ProviderCall, User
from tests.provider_server import ProviderServer, Script
from tests.support.questions import HTMX, read_error, send
from tests.support.site import Site
from tests.support.sockets import make_session_headers, open_socket


def find_today() -> date:
    """Return the day of now in UTC: a run of all tests may begin on one day and end on the next."""
    return datetime.now(UTC).date()


async def read_standing(site: Site) -> Standing:
    return await sync_to_async(find_standing)(site.user)


def read_figures(quota: Quota) -> tuple[Any, ...]:
    """Return the limit, what is used, and what is reserved."""
    return quota.limit, quota.used, quota.reserved


# What a refusal looks like


async def test_a_refusal_is_a_429_with_the_time_when_it_ends(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    await site.ask()
    response = await send(site)
    status, code, sentence = read_error(response)
    assert (status, code) == (429, "quota_exceeded")
    seconds = response.headers["Retry-After"]
    assert 0 < int(seconds) <= 60
    assert sentence == f"You have used this minute's 1 request. You can continue in {seconds} seconds."


async def test_nothing_is_kept_and_nobody_called_for_a_refused_question(
    site: Site, settings: Settings, provider: ProviderServer
) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    await site.ask()
    await site.client.post("/send/", {"content": "And?", "turn": str(uuid.uuid4())})
    assert await Conversation.objects.acount() == 1
    assert await Message.objects.acount() == 2
    assert await ProviderCall.objects.acount() == 1
    assert len(provider.requests) == 1


async def test_the_page_shows_a_refusal_under_the_composer(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    await site.ask()
    response: Any = await site.client.post("/send/", {"content": "And?", "turn": str(uuid.uuid4())}, headers=HTMX)
    assert (response.status_code, response.headers["HX-Retarget"]) == (429, "#composer-error")
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert b"You have used this minute&#x27;s 1 request." in response.content


async def test_without_scripts_a_refused_question_is_still_in_the_box(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    await site.ask()
    response = await site.client.post("/send/", {"content": "My long question", "turn": str(uuid.uuid4())})
    page = response.content.decode()
    assert response.status_code == 429
    assert "My long question</textarea>" in page
    assert "1 request. You can continue" in page


async def test_a_refused_retry_gets_the_same_refusal_and_makes_no_call(
    site: Site, settings: Settings, provider: ProviderServer
) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    answer = await site.ask()
    response: Any = await site.client.post(f"/answers/{answer['id']}/retry/", headers=HTMX)
    assert (response.status_code, response.headers["HX-Retarget"]) == (429, "#composer-error")
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert (await site.post(f"/api/answers/{answer['id']}/retry/")).status_code == 429
    assert len(provider.requests) == 1


async def test_the_socket_gets_an_error_frame(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    await site.ask()
    async with open_socket(make_session_headers(site)) as socket:
        await socket.say(type="send", content="Hello")
        frame = await socket.receive()
    assert (frame["type"], frame["code"], frame["retryable"]) == ("error", "quota_exceeded", True)
    assert 0 < frame["retry_after"] <= 60
    assert "this minute's 1 request" in frame["message"]


# Requests


async def test_a_retry_counts_as_a_request(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 2
    answer = await site.ask()
    await site.retry(answer["id"])
    assert (await send(site)).status_code == 429


async def test_the_same_turn_again_is_neither_counted_nor_refused(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 2
    conversation, turn = await site.begin_conversation(), str(uuid.uuid4())
    answers = [await site.ask(conversation=conversation, turn=turn) for _ in range(4)]
    assert len({answer["id"] for answer in answers}) == 1
    assert (await read_standing(site)).requests.used == 1
    await site.ask()
    assert (await send(site)).status_code == 429
    assert (await site.ask(conversation=conversation, turn=turn))["id"] == answers[0]["id"]


async def test_the_same_turn_at_once_is_one_request(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    conversation, turn = await site.begin_conversation(), str(uuid.uuid4())
    responses = await asyncio.gather(*(send(site, conversation, turn=turn) for _ in range(8)))
    assert {response.status_code for response in responses} == {202}
    assert (await read_standing(site)).requests.used == 1


async def test_a_refused_question_is_not_counted(site: Site, settings: Settings, provider: ProviderServer) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 3
    provider.script = Script(gate_after=0)
    conversation = await site.begin_conversation()
    assert (await send(site, conversation)).status_code == 202
    for _ in range(5):
        assert (await send(site, conversation)).status_code == 409
    assert (await read_standing(site)).requests.used == 1


async def test_requests_are_allowed_again_after_the_minute_ends(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    await site.ask()
    await Meter.objects.aupdate(until=datetime.now(UTC) - timedelta(seconds=1))
    await site.ask()
    assert (await send(site)).status_code == 429


async def test_with_one_request_left_one_of_many_simultaneous_questions_is_answered(
    site: Site, settings: Settings, provider: ProviderServer
) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 3
    for _ in range(2):
        await site.ask()
    conversations = [await site.begin_conversation() for _ in range(20)]
    responses = await asyncio.gather(*(send(site, conversation) for conversation in conversations))
    assert sorted(response.status_code for response in responses) == [202, *[429] * 19]
    await provider.wait_for_requests(3)
    assert await ProviderCall.objects.acount() == 3


# Live answers


async def test_concurrent_answers_are_limited_until_one_of_them_ends(
    site: Site, settings: Settings, provider: ProviderServer
) -> None:
    settings.CHAT_USER_STREAMS = 2
    provider.script = Script(gate_after=0)
    first, _ = await site.begin(), await site.begin()
    status, code, sentence = read_error(await send(site))
    assert (status, code) == (429, "quota_exceeded")
    assert sentence == (
        "2 of your answers are still being written, and you may have no more at once. Wait for one of them, or stop it."
    )
    await site.stop(first)
    assert (await send(site)).status_code == 202


async def test_another_users_answers_do_not_count(site: Site, settings: Settings, provider: ProviderServer) -> None:
    settings.CHAT_USER_STREAMS = 1
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    provider.script = Script(gate_after=0)
    other = await sync_to_async(Site)(await User.objects.acreate_user("grace"))
    assert [(await send(one)).status_code for one in (site, other, site, other)] == [202, 202, 429, 429]


def test_an_answer_that_is_billed_to_the_site_does_not_count(user: User) -> None:
    answer = make_lost_answer(user, "Because")
    assert find_standing(user).live_answers.used == 1
    answer.calls.update(user=None)
    assert find_standing(user).live_answers.used == 0


def test_an_answer_with_two_running_calls_counts_as_one_live_answer(user: User) -> None:
    answer = make_lost_answer(user, "Because")
    ProviderCall.objects.create(user=user, answer=answer, model="openai:gpt-test")
    assert find_standing(user).live_answers.used == 1


# Tokens


async def test_tokens_of_a_day_are_those_that_the_provider_reported(
    site: Site, settings: Settings, provider: ProviderServer
) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    provider.script = Script(text="x", usage=Usage(9_000, 1_000))
    await site.ask()
    assert read_figures((await read_standing(site)).tokens) == (10_000, 10_000, 0)
    response = await send(site)
    assert read_error(response)[2] == "You have used today's 10,000 tokens. You can continue at 00:00 UTC."
    assert 0 < int(response.headers["Retry-After"]) <= 86_400


async def test_a_call_holds_its_estimate_until_it_ends(
    site: Site, settings: Settings, provider: ProviderServer
) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY, settings.CHAT_RESERVE_OUTPUT = 150, 100
    provider.script = Script(text="x", gate_after=0, usage=Usage(2, 1))
    answer = await site.begin("12345678")
    assert read_figures((await read_standing(site)).tokens) == (150, 0, 102)
    response = await send(site)
    assert read_error(response)[2] == (
        "Your answers under way may take the rest of today's 150 tokens. Wait for one of them to end."
    )
    assert int(response.headers["Retry-After"]) < 60
    provider.release()
    await site.read_events(answer)
    assert read_figures((await read_standing(site)).tokens) == (150, 3, 0)
    assert (await send(site)).status_code == 202


async def test_the_rest_of_a_limit_must_be_enough_for_the_estimate(
    site: Site, settings: Settings, provider: ProviderServer
) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    provider.script = Script(text="x", usage=Usage(9_000, 500))
    await site.ask()
    assert read_error(await send(site, content="1234"))[2] == (
        "You have 500 tokens left of today's 10,000 tokens, and this needs about 1,001 tokens. "
        "You can continue at 00:00 UTC."
    )


async def test_a_question_that_can_never_fit_is_refused_without_a_time(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 100
    response = await send(site, content="x" * 404)
    assert read_error(response)[2] == (
        "This needs about 101 tokens, and your limit is 100 tokens a day. Ask something shorter, or begin a new chat."
    )
    assert "Retry-After" not in response.headers


async def test_a_limit_below_the_reserve_lets_one_answer_through(site: Site, settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY, settings.CHAT_RESERVE_OUTPUT = 100, 1_000
    assert (await send(site)).status_code == 202


async def test_a_stopped_call_settles_what_was_used(site: Site, settings: Settings, provider: ProviderServer) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 5_000
    provider.script = Script(text="12345678 and more", chunk_size=8, stall_after=8)
    answer = await site.begin("1234")
    async for _, event in site.follow(answer):
        if event["type"] == "token":
            break
    await site.stop(answer)
    assert read_figures((await read_standing(site)).tokens) == (5_000, 3, 0)


async def test_a_failed_call_settles_what_was_used(site: Site, settings: Settings, provider: ProviderServer) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 5_000
    provider.script = Script(text="12345678 and more", drop_after=8)
    await site.ask("1234")
    assert read_figures((await read_standing(site)).tokens) == (5_000, 3, 0)


def make_lost_answer(user: User, text: str) -> Message:
    """Make an answer whose server has gone, with its call."""
    conversation = Conversation.objects.create(user=user)
    question = Message.objects.create(conversation=conversation, role="user", text="Why?")
    answer = Message.objects.create(
        conversation=conversation,
        parent=question,
        role="assistant",
        status="streaming",
        text=text,
        owner="gone",
        fence=1,
        lease_until=datetime.now(UTC) - timedelta(seconds=1),
    )
    admit(ProviderCall(user=user, answer=answer, model="openai:gpt-test", input_tokens=5))
    return answer


@pytest.fixture
def wide_limit(settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000


@pytest.mark.usefixtures("wide_limit")
def test_a_call_of_a_lost_server_settles_what_was_used(user: User) -> None:
    make_lost_answer(user, "12345678")
    assert read_figures(find_standing(user).tokens) == (10_000, 0, 1005)
    assert [settle_lost(row) for row in seize_expired()] == [True]
    assert read_figures(find_standing(user).tokens) == (10_000, 7, 0)


@pytest.mark.usefixtures("wide_limit")
def test_settling_twice_counts_once(user: User) -> None:
    call = begin_call(user)
    for _ in range(2):
        settle_call(CallResult(call, Usage(10, 5), None, 1), make_interruption("timeout"))
    assert find_standing(user).tokens.used == 15


@pytest.mark.parametrize("measure", ["tokens", "cost"])
def test_a_call_whose_row_is_written_behind_midnight_counts_for_one_window(
    user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch, measure: str
) -> None:
    """It waits for the database between its admission and its row. The new window has a meter by another call."""
    settings.CHAT_USER_TOKENS_PER_DAY, settings.CHAT_USER_COST_PER_MONTH = 10_000, 100
    settings.CHAT_PRICES = {"openai:gpt-test": Price(Decimal(1), Decimal(1), Decimal(1))}
    midnight = datetime(2026, 12, 1, tzinfo=UTC)
    moments = chain([midnight - timedelta(milliseconds=1)], repeat(midnight))
    with monkeypatch.context() as clock:
        clock.setattr("chat.accounting.quotas.compute_lease_end", lambda: midnight + timedelta(minutes=1))
        clock.setattr("chat.accounting.quotas.timezone.now", lambda: next(moments))
        call, later = begin_call(user), begin_call(user)
        settle_with(call, 1_000)
        settle_with(later, 10)
    unit = 1 if measure == "tokens" else 100
    meters = Meter.objects.filter(key__contains=f"/{measure}/").order_by("begins")
    assert [meter.used / unit for meter in meters] == [1_000, 10]


def begin_call(user: User, model: str = "openai:gpt-test", **fields: Any) -> ProviderCall:
    return admit(ProviderCall(user=user, model=model, input_tokens=100), **fields)


def add_earlier_usage(user: User, measure: str, amount: int, ago: timedelta = timedelta()) -> None:
    """Add a meter of the user's for the window that was under way `ago` before now."""
    window = find_window("day" if measure == "tokens" else "month", datetime.now(UTC) - ago)
    key = f"user/{user.pk}/{measure}/{window.name}"
    Meter.objects.create(key=key, begins=window.begins, until=window.until, used=amount, is_seeded=True)


def test_old_meters_are_pruned_with_the_ledger_rows_of_their_days(user: User) -> None:
    for days in (0, 40):
        add_earlier_usage(user, "tokens", 10, ago=timedelta(days=days))
    call_command("prune", "--ledger", "30", stdout=StringIO())
    assert Meter.objects.count() == 2
    call_command("prune", "--ledger", "30", "--yes", stdout=StringIO())
    assert Meter.objects.get().key.endswith(str(find_today()))


def test_tokens_of_yesterday_do_not_count_against_today(user: User, settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 10
    add_earlier_usage(user, "tokens", 10, ago=timedelta(days=1))
    assert find_standing(user).tokens.used == 0
    settings.CHAT_USER_TOKENS_PER_DAY = 1_100
    begin_call(user)
    assert Meter.objects.count() == 2


@pytest.mark.usefixtures("wide_limit")
def test_a_call_that_began_yesterday_counts_for_yesterday(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    with monkeypatch.context() as yesterday:
        yesterday.setattr("chat.accounting.quotas.timezone.now", lambda: now - timedelta(days=1))
        call = begin_call(user)
    assert read_figures(find_standing(user).tokens) == (10_000, 0, 0)
    settle_call(CallResult(call, Usage(10, 5), None, 1), make_interruption("timeout"))
    assert Meter.objects.get(key__contains="tokens").used == 15
    assert read_figures(find_standing(user).tokens)[2] == 0


@pytest.mark.usefixtures("wide_limit")
def test_reservations_of_calls_that_are_gone_are_released(user: User) -> None:
    """Its row was deleted behind the site's back: no settlement will ever come."""
    begin_call(user)
    call = begin_call(user)
    assert recount() == 0
    assert find_standing(user).tokens.reserved == 2_200
    ProviderCall.objects.filter(pk=call.pk).delete()
    assert recount() == 1
    assert find_standing(user).tokens.reserved == 1_100


def test_a_lost_answer_gives_its_place_among_the_live_ones_back(user: User, settings: Settings) -> None:
    settings.CHAT_USER_STREAMS = 1
    answer = make_lost_answer(user, "Because")
    with pytest.raises(QuotaError):
        make_lost_answer(user, "Because")
    assert recount() == 0
    answer.conversation.delete()
    assert recount() == 1
    make_lost_answer(user, "Because")


def test_further_calls_of_an_answer_do_not_count_as_requests(user: User, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE, settings.CHAT_USER_TOKENS_PER_DAY = 1, 2_500
    begin_call(user)
    begin_call(user, is_request=False)
    assert find_standing(user)[0].used == 1
    with pytest.raises(QuotaError, match="rest of today's 2,500 tokens"):
        begin_call(user, is_request=False)


def test_a_call_of_nobody_is_not_limited(user: User, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    for _ in range(2):
        admit(ProviderCall(user=None, model="openai:gpt-test"))
    assert not Meter.objects.exists()


def test_earlier_usage_on_the_ledger_counts(user: User, settings: Settings) -> None:
    settled: dict[str, Any] = {
        "user": user,
        "model": "openai:gpt-test",
        "outcome": "complete",
        "input_tokens": 60,
        "output_tokens": 30,
    }
    today = ProviderCall.objects.create(**settled, cost=Decimal("0.25"))
    before = ProviderCall.objects.create(**settled, cost=Decimal("0.50"))
    ProviderCall.objects.filter(pk=before.pk).update(started_at=today.started_at - timedelta(days=40))
    assert read_figures(find_standing(user).tokens) == (None, 90, 0)
    assert read_figures(find_standing(user).cost) == (None, Decimal("0.25"), 0)
    settings.CHAT_USER_TOKENS_PER_DAY = 1_189
    with pytest.raises(QuotaError):
        begin_call(user)
    settings.CHAT_USER_TOKENS_PER_DAY = 1_190
    begin_call(user)


def settle_with(call: ProviderCall, tokens: int) -> None:
    settle_call(CallResult(call, Usage(tokens, 0), None, 1), make_interruption("timeout"))


def test_usage_counts_that_was_made_while_the_limit_was_switched_off(user: User, settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    settle_with(begin_call(user), 1_000)
    settings.CHAT_USER_TOKENS_PER_DAY = 0
    settle_with(begin_call(user), 8_500)
    assert find_standing(user).tokens.used == 9_500
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    assert find_standing(user).tokens.used == 9_500
    with pytest.raises(QuotaError, match="500 tokens left"):
        begin_call(user)


def test_a_call_that_began_before_the_limit_counts_when_it_ends(user: User, settings: Settings) -> None:
    early = begin_call(user)
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    settle_with(begin_call(user), 100)
    settle_with(early, 9_000)
    assert read_figures(find_standing(user).tokens) == (10_000, 9_100, 0)


@pytest.mark.usefixtures("wide_limit")
def test_a_call_that_the_site_bears_counts_for_no_limit_of_its_user(user: User) -> None:
    begin_call(user)
    settle_with(admit(ProviderCall(user=user, model="openai:gpt-test", billed_to="site")), 500)
    assert find_standing(user).tokens.used == 0


# Cost

PRICES = {"openai:gpt-test": Price(Decimal(10), Decimal(100), Decimal(10))}


def test_a_months_cost_is_reserved_and_settled_by_price(user: User, settings: Settings) -> None:
    settings.CHAT_PRICES, settings.CHAT_USER_COST_PER_MONTH = PRICES, Decimal("0.20")
    call = begin_call(user)
    assert read_figures(find_standing(user).cost) == (Decimal("0.20"), 0, Decimal("0.101"))
    with pytest.raises(QuotaError, match=r"rest of this month's \$0\.20\."):
        begin_call(user)
    settle_call(CallResult(call, Usage(1_000, 1_000), None, 1), make_interruption("timeout"))
    assert read_figures(find_standing(user).cost) == (Decimal("0.20"), Decimal("0.11"), 0)
    with pytest.raises(QuotaError) as refusal:
        begin_call(user)
    assert refusal.value.sentence.startswith(
        "You have $0.0900 left of this month's $0.20, and this needs about $0.10. You can continue "
    )


def test_a_limit_that_is_as_good_as_none_refuses_nobody(user: User, settings: Settings) -> None:
    settings.CHAT_PRICES = PRICES
    Limit.objects.create(user=user, cost_per_month=Decimal("999999999999.99"), tokens_per_day=2**63 - 1)
    settle_with(begin_call(user), 1_000)
    begin_call(user)
    assert find_standing(user).cost.used == Decimal("0.01")


def test_a_used_up_month_is_refused_until_the_first_of_the_next(user: User, settings: Settings) -> None:
    settings.CHAT_PRICES, settings.CHAT_USER_COST_PER_MONTH = PRICES, Decimal(5)
    add_earlier_usage(user, "cost", 501_000_000)
    with pytest.raises(
        QuotaError, match=r"You have used this month's \$5\.00\. You can continue .*at 00:00 UTC\."
    ) as refusal:
        begin_call(user)
    first = (find_today().replace(day=1) + timedelta(days=31)).replace(day=1)
    seconds = (datetime(first.year, first.month, 1, tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    assert refusal.value.retry_after == pytest.approx(seconds, abs=60)
    if seconds > 86_400:
        assert f"on 1 {first:%B} at" in refusal.value.sentence


def test_cost_of_last_month_does_not_count_against_this_month(user: User, settings: Settings) -> None:
    settings.CHAT_USER_COST_PER_MONTH = Decimal(1)
    add_earlier_usage(user, "cost", 500_000_000, ago=timedelta(days=32))
    assert find_standing(user).cost.used == 0


def test_a_model_without_a_price_is_not_held_up_by_a_cost_limit(user: User, settings: Settings) -> None:
    settings.CHAT_USER_COST_PER_MONTH = Decimal(1)
    add_earlier_usage(user, "cost", 100_000_000)
    begin_call(user, "openai:gpt-test")
    begin_call(user, "demo:tour")


# Whose limit it is


def set_limit(user: User | None = None, group: str = "", **figures: Any) -> None:
    """Set a limit of the user, or of a group that the user is put into."""
    if user is not None and group:
        user.groups.add(Group.objects.create(name=group))
        Limit.objects.create(group=Group.objects.get(name=group), **figures)
    else:
        Limit.objects.create(user=user, **figures)


def test_without_a_limit_of_their_own_a_user_has_the_sites(user: User, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE, settings.CHAT_USER_STREAMS = 60, 4
    assert find_limits(user.pk) == (60, 4, None, None)


def test_a_figure_that_is_not_given_is_inherited(user: User, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE, settings.CHAT_USER_STREAMS = 60, 4
    set_limit(user, "Students", tokens_per_day=1_000, live_answers=2)
    set_limit(user, requests_per_minute=5)
    assert find_limits(user.pk) == (5, 2, 1_000, None)


def test_a_users_own_limit_wins_over_a_more_generous_group(user: User) -> None:
    set_limit(user, "Research", tokens_per_day=1_000_000, cost_per_month=0)
    set_limit(user, tokens_per_day=10, cost_per_month=Decimal("1.50"))
    assert find_limits(user.pk) == (None, None, 10, Decimal("1.50"))


def test_of_several_groups_the_most_generous_counts(user: User, settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 5_000
    set_limit(user, "A", tokens_per_day=10, requests_per_minute=7)
    set_limit(user, "B", tokens_per_day=20, requests_per_minute=None)
    assert find_limits(user.pk)[:3] == (7, None, 20)
    set_limit(user, "C", tokens_per_day=0)
    assert find_limits(user.pk).tokens_per_day is None


def test_a_group_may_be_less_generous_than_the_site(user: User, settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 0
    set_limit(user, "Guests", tokens_per_day=10)
    assert find_limits(user.pk).tokens_per_day == 10


def test_staff_are_not_exempt_from_limits(user: User, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    root = User.objects.create_superuser("root")
    begin_call(root)
    with pytest.raises(QuotaError):
        begin_call(root)
    set_limit(root, "Operators", requests_per_minute=0)
    begin_call(root)


def test_a_limit_of_a_group_does_not_affect_users_outside_it(user: User) -> None:
    set_limit(User.objects.create_user("grace"), "Others", tokens_per_day=1)
    assert find_limits(user.pk).tokens_per_day is None


@pytest.mark.parametrize("both", [True, False])
def test_a_limit_belongs_to_either_a_user_or_a_group(user: User, *, both: bool) -> None:
    group = Group.objects.create(name="G")
    with pytest.raises(IntegrityError):
        Limit.objects.create(user=user if both else None, group=group if both else None)


async def test_a_limit_in_the_admin_counts_for_the_next_question(site: Site) -> None:
    await User.objects.acreate_superuser("root", password="root")
    await site.ask()
    page = await sync_to_async(add_limit_in_admin)({"user": str(site.user.pk), "requests_per_minute": "1"})
    assert page.status_code == 302
    assert [(await send(site)).status_code for _ in range(2)] == [202, 429]


async def test_without_any_limit_nothing_is_reserved(site: Site) -> None:
    await site.ask()
    assert not await Meter.objects.aexists()
    assert (await read_standing(site)).tokens.used > 0


def add_limit_in_admin(fields: dict[str, str]) -> Any:
    client = Client()
    client.login(username="root", password="root")
    return client.post("/admin/chat/limit/add/", fields)


async def test_the_admin_refuses_a_limit_without_a_user_or_a_group(site: Site) -> None:
    await User.objects.acreate_superuser("root", password="root")
    page = await sync_to_async(add_limit_in_admin)({"requests_per_minute": "1"})
    assert page.status_code == 200
    assert "Choose a user or a group." in page.content.decode()


@pytest.mark.usefixtures("wide_limit")
async def test_the_answer_tells_what_it_reserved_by_its_own_ledger_row(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin("12345678")
    call = await ProviderCall.objects.aget(answer=UUID(answer))
    assert call.holds == [[f"user/{site.user.pk}/tokens/{find_today()}", 1002]]


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("0", "$0.00"),
        ("0.00001", "$0.00001000"),
        ("0.0031", "$0.0031"),
        ("0.1", "$0.10"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_amounts_below_a_cent_are_shown_with_enough_digits(amount: str, words: str) -> None:
    assert write_dollars(Decimal(amount)) == words
