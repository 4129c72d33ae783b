"""A checkpoint that was under way while its answer was written otherwise changes nothing: what is newer stays."""

from __future__ import annotations

import pytest

from chat.core.events import Token
from chat.core.transcript import Transcript
from chat.generation import lost_answers, store
from chat.generation.store import AnswerSnapshot
from chat.models import Message, User
from tests.support.lost_answers import keep_lost_answer


def take_snapshots(user: User) -> tuple[Message, AnswerSnapshot, AnswerSnapshot]:
    """Return a live answer, a snapshot of its beginning, and one of all that there is of it."""
    answer = keep_lost_answer(user, "")
    transcript = Transcript()
    transcript.append([Token("One ")])
    before = AnswerSnapshot.from_transcript(answer.pk, answer.fence, transcript, None)
    transcript.append([Token("two ")])
    return answer, before, AnswerSnapshot.from_transcript(answer.pk, answer.fence, transcript, None)


def test_an_answer_that_was_left_keeps_its_text_and_may_be_seized_at_once(user: User) -> None:
    _, before, now = take_snapshots(user)
    assert store.release(now, ())
    store.write_checkpoint([before], ())
    (lost,) = lost_answers.seize_expired()
    assert lost.snapshot.text == "One two "


def test_a_process_that_left_an_answer_does_not_own_it(user: User) -> None:
    answer, _, now = take_snapshots(user)
    store.release(now, ())
    left = Message.objects.get(pk=answer.pk)
    assert not store.keep(now)
    assert Message.objects.get(pk=answer.pk).lease_until == left.lease_until


@pytest.mark.parametrize("first", ["older", "newer"])
def test_of_two_snapshots_the_longer_one_stays(user: User, first: str) -> None:
    answer, before, now = take_snapshots(user)
    for snapshot in (before, now) if first == "older" else (now, before):
        store.write_checkpoint([snapshot], ())
    assert Message.objects.get(pk=answer.pk).text == "One two "
