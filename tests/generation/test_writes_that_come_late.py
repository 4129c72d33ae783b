"""Of two writes to an answer the newer one stays, whichever comes first, and each call is settled once.

Late is what was made from an older state of the answer: by the process itself, by an owner that was paused, by a user
who pressed Stop meanwhile. The table tries each late write after and before each newer one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import rollups
from chat.conversations.offered_tools import store_with_tools
from chat.core.events import Bookmark, Token, Usage
from chat.core.transcript import Transcript
from chat.generation import lost_answers, recovery, store
from chat.generation.lost_answers import LostAnswer
from chat.generation.recovery import NO_RESULT
from chat.generation.store import AnswerSnapshot, CallResult, StoredBookmark
from chat.generation.verdict import STOPPED_BY_USER, Verdict, make_interruption
from chat.leases import name_owner
from chat.models import Conversation, Message, ProviderCall, Status, ToolCall, User
from tests.support.lost_answers import keep_lost_answer

COMPLETE = Verdict(Status.COMPLETE, "stop")
LOST = make_interruption("server_lost")


class Live:
    """A live answer of this process, with an older and a newer snapshot of it, its call, and a tool that runs."""

    def __init__(self, user: User, *, is_kept: bool = False) -> None:
        self.answer = keep_lost_answer(user, "")
        Message.objects.filter(pk=self.answer.pk).update(
            owner=name_owner(), lease_until=timezone.now() + timedelta(seconds=60), first_token_at=timezone.now()
        )
        self.call = ProviderCall.objects.get(answer=self.answer)
        self.tool = ToolCall.objects.create(answer=self.answer, call_id="1", name="ring", arguments="{}")
        self.is_kept = is_kept
        transcript = Transcript()
        transcript.append([Token("One ")])
        self.older = self._make_snapshot(transcript)
        transcript.append([Token("two ")])
        self.newer = self._make_snapshot(transcript)

    def _make_snapshot(self, transcript: Transcript) -> AnswerSnapshot:
        position = transcript.position
        kept = StoredBookmark(Bookmark("resp_1", position, ""), position, self.call.pk) if self.is_kept else None
        return AnswerSnapshot.from_transcript(self.answer.pk, 1, transcript, timezone.now(), kept)

    def make_result(self, output: int) -> CallResult:
        """Return what its call came to, with so many tokens."""
        return CallResult(ProviderCall.objects.get(pk=self.call.pk), Usage(7, output), 5, 50)

    def seize(self) -> LostAnswer:
        Message.objects.filter(pk=self.answer.pk).update(lease_until=timezone.now() - timedelta(seconds=5))
        [lost] = lost_answers.seize_expired()
        return lost


def write_newer(live: Live) -> None:
    store.write_checkpoint([live.newer], ())


def end(live: Live) -> None:
    assert store.settle(live.newer, COMPLETE, [live.make_result(9)])


def end_as_stopped(live: Live) -> None:
    assert store.settle(live.newer, STOPPED_BY_USER, [live.make_result(9)])


def leave(live: Live) -> None:
    assert store.release(live.newer, [] if live.is_kept else [live.make_result(9)])


def end_as_lost(live: Live) -> None:
    write_newer(live)
    assert lost_answers.settle_lost(live.seize())


def go_on_elsewhere(live: Live) -> None:
    write_newer(live)
    lost = live.seize()._replace(is_whole=True)  # as where the broker knows what readers have had
    assert store_with_tools(lambda model: (), lambda: recovery.take_up(lost)) is not None


def continue_after_break(live: Live) -> None:
    resume = lambda: recovery.continue_after_break(live.newer, live.make_result(9), "upstream_error")  # noqa: E731
    assert store_with_tools(lambda model: (), resume) is not None


def call_tools(live: Live) -> None:
    row = ToolCall(answer_id=live.answer.pk, call_id="2", name="chime", arguments="{}")
    assert store.settle_step(live.newer, live.make_result(9), [row])


def delete(live: Live) -> None:
    live.answer.conversation.delete()


def write_older(live: Live) -> None:
    store.write_checkpoint([live.older], ())


def write_figures(live: Live) -> None:
    rollups.write_progress([rollups.Progress(live.call.pk, Usage(7, 1, estimated=True), 5)])


def keep_result(live: Live) -> None:
    live.tool.result = live.tool.summary = "ding"
    store.keep_tool_result(live.tool, 1)


def ask_to_stop(live: Live) -> None:
    store.request_stop(live.answer.pk)


def end_late(live: Live) -> None:
    store.settle(live.older, LOST, [live.make_result(1)])


def leave_late(live: Live) -> None:
    store.release(live.older, [] if live.is_kept else [live.make_result(1)])


Write = Callable[[Live], None]

ENDS: list[Write] = [end, end_as_stopped, leave, end_as_lost, go_on_elsewhere, delete]
STEPS: list[Write] = [write_newer, continue_after_break, call_tools]
BY_THE_PROCESS: list[Write] = [write_older, write_figures, keep_result, ask_to_stop]
# Writes of an owner that has lost the answer: its fence is out of date, or the answer has ended.
BY_A_LATE_OWNER: list[Write] = [end_late, leave_late]


class Facts(NamedTuple):
    """What an answer and its calls have come to, without what a late write may change and the next one repairs."""

    answer: tuple[Any, ...] | None
    is_free: bool
    """Whether a sweep may take it at once."""
    calls: list[tuple[Any, ...]]


def find_facts(live: Live) -> Facts:
    fields = ("text", "position", "status", "error_code", "fence", "breaks", "losses")
    answer = Message.objects.filter(pk=live.answer.pk).values_list(*fields).first()
    if answer is not None and live.is_kept:
        answer = (*answer, (Message.objects.get(pk=live.answer.pk).bookmark or {}).get("number"))
    is_free = Message.objects.live().filter(pk=live.answer.pk, lease_until__lt=timezone.now()).exists()
    calls = [
        (row.outcome, row.error_code, row.output_tokens if row.outcome != "running" else None)
        for row in ProviderCall.objects.order_by("pk")
    ]
    return Facts(answer, is_free, calls)


@pytest.fixture(autouse=True)
def _lost_answers_go_on(settings: Settings) -> None:
    settings.CHAT_FINISH_LOST = settings.CHAT_FINISH_BROKEN = 1
    settings.CHAT_MODELS = ["openai:gpt-test"]


def find_facts_after(user: User, writes: list[Write], *, is_kept: bool) -> Facts:
    """Make an answer and these writes to it; return the facts, and delete the answer."""
    live = Live(user, is_kept=is_kept)
    for write in writes:
        write(live)
    facts = find_facts(live)
    ProviderCall.objects.all().delete()
    Conversation.objects.all().delete()
    return facts


TABLE = [
    *((newer, late, False) for newer in (*ENDS, *STEPS) for late in BY_THE_PROCESS),
    *((newer, late, True) for newer in (end, leave, go_on_elsewhere) for late in BY_THE_PROCESS),
    # What a deleted answer's call came to is settled late, and once.
    *((newer, late, False) for newer in ENDS if newer != delete for late in BY_A_LATE_OWNER),
    *((newer, late, True) for newer in (end, leave, go_on_elsewhere) for late in BY_A_LATE_OWNER),
]


def name_write(value: Write | bool) -> str:
    return ("kept" if value else "") if isinstance(value, bool) else value.__name__


@pytest.mark.parametrize(("newer", "late", "is_kept"), TABLE, ids=name_write)
def test_a_write_that_comes_after_a_newer_one_changes_nothing(
    user: User, newer: Write, late: Write, is_kept: bool
) -> None:
    assert find_facts_after(user, [newer, late], is_kept=is_kept) == find_facts_after(user, [newer], is_kept=is_kept)


@pytest.mark.parametrize("late", BY_THE_PROCESS[:3], ids=name_write)
@pytest.mark.parametrize("newer", [*ENDS, *STEPS], ids=name_write)
def test_a_write_that_comes_before_a_newer_one_makes_no_difference(user: User, newer: Write, late: Write) -> None:
    assert find_facts_after(user, [late, newer], is_kept=False) == find_facts_after(user, [newer], is_kept=False)


# Stop


def test_a_stop_between_the_seizure_and_the_next_call_is_obeyed(user: User) -> None:
    live = Live(user)
    write_newer(live)
    lost = live.seize()._replace(is_whole=True)
    ask_to_stop(live)
    assert store_with_tools(lambda model: (), lambda: recovery.take_up(lost)) is None
    assert lost_answers.settle_lost(lost)
    answer = Message.objects.get(pk=live.answer.pk)
    assert (answer.status, answer.error_code, answer.losses) == ("stopped", "", 0)
    assert ProviderCall.objects.count() == 1


def test_a_stop_of_what_was_left_is_obeyed_by_the_next_process(user: User) -> None:
    live = Live(user)
    leave(live)
    ask_to_stop(live)
    assert live.seize().is_stopped


# Bookmarks


def test_a_bookmark_of_a_call_that_has_ended_says_nothing_of_what_readers_had(user: User) -> None:
    """A provider that pauses has its call settled between two checkpoints; the next call's text is in no snapshot."""
    live = Live(user, is_kept=True)
    write_newer(live)
    store.settle_call(live.make_result(9), COMPLETE)
    lost = live.seize()
    assert (lost.is_whole, lost.snapshot.bookmark) == (False, None)


def test_a_late_owner_leaves_the_call_that_another_process_follows(user: User) -> None:
    live = Live(user, is_kept=True)
    go_on_elsewhere(live)
    end_late(live)
    store.settle_step(live.older, live.make_result(1), [])
    assert ProviderCall.objects.get().outcome == "running"


# Tools


@pytest.mark.parametrize("newer", [end, leave, end_as_lost, go_on_elsewhere], ids=name_write)
def test_a_result_that_comes_too_late_is_not_kept(user: User, newer: Write) -> None:
    live = Live(user)
    newer(live)
    before = ToolCall.objects.get(pk=live.tool.pk).result
    keep_result(live)
    assert ToolCall.objects.get(pk=live.tool.pk).result == before != "ding"


@pytest.mark.parametrize("newer", [end, leave, end_as_lost, go_on_elsewhere], ids=name_write)
def test_a_result_that_comes_in_time_stays(user: User, newer: Write) -> None:
    live = Live(user)
    keep_result(live)
    newer(live)
    assert ToolCall.objects.get(pk=live.tool.pk).result == "ding" != NO_RESULT
