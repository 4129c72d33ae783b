"""A row of the ledger whose process is gone is settled by whoever finds it, whatever it was for; one that lives is left
alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import rollups
from chat.accounting.quotas import admit
from chat.accounting.rollups import Progress
from chat.core.events import Bookmark, Continued, Token, Usage
from chat.core.transcript import Transcript
from chat.generation import store
from chat.generation.lost_answers import seize_expired, settle_lost
from chat.generation.lost_calls import settle_lost_calls
from chat.generation.recovery import take_up
from chat.generation.store import CallResult, StoredBookmark, settle_call
from chat.generation.verdict import Verdict
from chat.models import Conversation, Message, Meter, ProviderCall, Status, User
from tests.support.lost_answers import keep_lost_answer
from tests.support.reaping import reap


def begin_lost_call(user: User, purpose: str = "title", *, ago: float = 1, **fields: Any) -> ProviderCall:
    """Make a running row of the ledger whose lease ended so many seconds ago."""
    call = admit(ProviderCall(user=user, purpose=purpose, model="openai:gpt-test", input_tokens=40, **fields))
    ProviderCall.objects.filter(pk=call.pk).update(lease_until=timezone.now() - timedelta(seconds=ago))
    return call


def list_ends() -> list[tuple[str, str, str]]:
    return list(ProviderCall.objects.order_by("pk").values_list("purpose", "outcome", "error_code"))


@pytest.mark.parametrize("purpose", ["title", "test", "batch", "answer"])
def test_a_row_of_any_purpose_is_settled_when_its_lease_has_ended(user: User, purpose: str) -> None:
    begin_lost_call(user, purpose)
    assert settle_lost_calls() == {purpose: 1}
    assert list_ends() == [(purpose, "interrupted", "server_lost")]
    assert ProviderCall.objects.get().estimated


def test_a_row_of_a_site_that_was_away_for_months_is_settled_and_counted(user: User) -> None:
    """Its duration in milliseconds is more than the column takes."""
    call = begin_lost_call(user)
    ProviderCall.objects.filter(pk=call.pk).update(started_at=timezone.now() - timedelta(days=132))
    assert settle_lost_calls() == {"title": 1}
    rollups.catch_up()
    assert not ProviderCall.objects.get().left_out


def test_a_row_whose_process_lives_is_left_alone(user: User) -> None:
    begin_lost_call(user, "batch", ago=-5)
    assert not settle_lost_calls()
    assert list_ends() == [("batch", "running", "")]


def test_a_new_row_has_a_lease(user: User) -> None:
    admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=1))
    assert not settle_lost_calls()


def test_an_owner_that_goes_on_in_time_keeps_the_row(user: User) -> None:
    call = begin_lost_call(user)
    rollups.write_progress([Progress(call.pk, Usage(40, 3), 10)])
    assert not settle_lost_calls()


def test_a_lost_call_costs_what_its_process_last_wrote(user: User) -> None:
    call = begin_lost_call(user)
    rollups.write_progress([Progress(call.pk, Usage(472, 9, cached_tokens=100, reasoning_tokens=4), 250)])
    ProviderCall.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    settle_lost_calls()
    call = ProviderCall.objects.get()
    assert (call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens) == (472, 9, 100, 4)
    assert (call.first_token_ms, call.estimated) == (250, True)


def test_a_paused_process_that_comes_back_settles_nothing_twice(user: User, settings: Settings) -> None:
    settings.CHAT_USER_COST_PER_MONTH = 1000
    call = begin_lost_call(user)
    settle_lost_calls()
    assert not settle_call(CallResult(call, Usage(1000, 1000), None, 5), Verdict(Status.COMPLETE, "stop"))
    rollups.write_progress([Progress(call.pk, Usage(999, 999), 1)])
    kept = ProviderCall.objects.get()
    assert (kept.outcome, kept.input_tokens, kept.output_tokens) == ("interrupted", 40, 0)


def test_settling_a_lost_call_releases_its_reservation(user: User, settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    begin_lost_call(user)
    assert Meter.objects.get().held == 1_040
    settle_lost_calls()
    assert Meter.objects.get().held == 0


def test_a_row_of_an_older_version_is_lost_when_no_call_takes_so_long(user: User) -> None:
    for _ in range(2):
        begin_lost_call(user, "batch")
    ProviderCall.objects.update(lease_until=None)
    assert not settle_lost_calls()
    ProviderCall.objects.filter(pk=ProviderCall.objects.order_by("pk")[0].pk).update(
        started_at=timezone.now() - timedelta(days=1)
    )
    assert settle_lost_calls() == {"batch": 1}


def test_a_live_answers_row_is_settled_with_the_answer(user: User) -> None:
    answer = keep_lost_answer(user, "12345678")
    ProviderCall.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert not settle_lost_calls()
    assert [settle_lost(row) for row in seize_expired()] == [True]
    call = ProviderCall.objects.get(answer=answer)
    assert (call.outcome, call.output_tokens) == ("interrupted", 2)


def test_a_row_whose_answer_is_taken_over_late_is_its_takers(user: User) -> None:
    """The site was away for minutes, and each process that is back sweeps; one may follow the response of that call."""
    keep_lost_answer(user, ago=100)
    ProviderCall.objects.update(lease_until=timezone.now() - timedelta(seconds=100))
    assert not settle_lost_calls()
    assert len(seize_expired()) == 1
    assert not settle_lost_calls()
    assert ProviderCall.objects.get().outcome == "running"


def test_a_row_whose_answer_is_taken_up_long_after_it_was_seized_is_its_takers(user: User, settings: Settings) -> None:
    """A sweep takes up many answers, on a machine that is busy; its next checkpoint renews the leases of their rows."""
    answer = keep_lost_answer(user)
    settings.CHAT_FINISH_LOST, settings.CHAT_MODELS = 1, [answer.model]
    call = ProviderCall.objects.get()
    kept = StoredBookmark(Bookmark("resp_1", 3), answer.position, call.pk)
    Message.objects.update(bookmark=kept.members)
    [lost] = seize_expired()
    # The answer's own lease lasts to the end of the test, however busy the machine is.
    Message.objects.filter(pk=answer.pk).update(lease_until=timezone.now() + timedelta(seconds=1000))
    ProviderCall.objects.update(lease_until=timezone.now() - timedelta(seconds=settings.CHAT_LEASE + 1))
    taken = take_up(lost)
    assert taken is not None
    assert (taken.call, taken.bookmark) == (call, kept)
    assert not settle_lost_calls()
    assert list_ends() == [("answer", "running", "")]


def test_a_row_that_its_live_answer_has_left_behind_is_settled(user: User) -> None:
    keep_lost_answer(user, ago=-60)
    ProviderCall.objects.update(lease_until=timezone.now() - timedelta(seconds=100))
    assert settle_lost_calls() == {"answer": 1}


def test_a_row_whose_answer_was_deleted_before_its_lease_ended_is_settled(user: User) -> None:
    keep_lost_answer(user)
    ProviderCall.objects.update(lease_until=timezone.now() - timedelta(seconds=1), output_tokens=2)
    Conversation.objects.all().delete()
    assert not seize_expired()
    assert settle_lost_calls() == {"answer": 1}
    assert ProviderCall.objects.get().output_tokens == 2


def test_a_title_that_is_being_written_is_not_its_answers_call(user: User) -> None:
    """The process that writes the answer dies; another one writes the title."""
    answer = keep_lost_answer(user)
    begin_lost_call(user, "title", ago=-60, answer=answer)
    assert [settle_lost(row) for row in seize_expired()] == [True]
    assert list_ends() == [("answer", "interrupted", "server_lost"), ("title", "running", "")]


def test_a_lost_call_is_charged_for_the_text_since_it_began(user: User) -> None:
    """Eight hundred characters are there already when a Continue begins, and twelve more come before the crash."""
    answer = keep_lost_answer(user, "x" * 812)
    transcript = Transcript()
    transcript.append([Token("x" * 800), Continued(), Token("x" * 12)])
    Message.objects.filter(pk=answer.pk).update(outline=transcript.outline, position=transcript.position)
    ProviderCall.objects.update(start=802)
    assert [settle_lost(row) for row in seize_expired()] == [True]
    call = ProviderCall.objects.get()
    assert (call.input_tokens, call.output_tokens, call.estimated) == (7, 3, True)


def test_of_two_lost_calls_of_an_answer_each_is_charged_for_its_own_text(user: User) -> None:
    answer = keep_lost_answer(user, "x" * 40)
    ProviderCall.objects.update(start=0)
    ProviderCall.objects.create(user=user, answer=answer, model=answer.model, input_tokens=9, start=32)
    assert [settle_lost(row) for row in seize_expired()] == [True]
    assert list(ProviderCall.objects.order_by("pk").values_list("input_tokens", "output_tokens")) == [(7, 8), (9, 2)]


def test_an_end_that_another_process_wrote_takes_no_row_from_the_call_that_goes_on(user: User) -> None:
    """A process seizes an answer and is paused; meanwhile the answer was ended, and its user continued it."""
    keep_lost_answer(user)
    [row] = seize_expired()
    Message.objects.filter(pk=row.id).update(fence=9, owner="elsewhere:1:abc")
    assert not settle_lost(row)
    assert list_ends() == [("answer", "running", "")]


def test_reap_says_what_it_settled(user: User) -> None:
    keep_lost_answer(user)
    for purpose in ("title", "batch", "batch"):
        begin_lost_call(user, purpose)
    assert reap() == "1 answer interrupted.\n3 other calls settled: 2 batch, 1 title."
    assert reap() == "0 answers interrupted."


def test_a_database_that_has_just_started_gives_everyone_a_leases_time(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_lost_call(user)
    monkeypatch.setattr("chat.generation.lost_calls.can_trust_leases", lambda: False)
    assert not settle_lost_calls()


def test_a_checkpoint_renews_the_rows_of_running_calls(user: User) -> None:
    call = begin_lost_call(user)
    store.write_checkpoint([], (), [Progress(call.pk, Usage(40, 0), None)])
    assert not settle_lost_calls()
