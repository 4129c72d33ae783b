"""Answers whose owner is gone: seizing them, and ending those that cannot be continued.

Leases run by the database's clock. Call all of this in a thread, see `chat.tasks.run_in_thread`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from chat.core.events import Lasting, Reasoning, TextEvent, get_text
from chat.core.tokens import estimate_tokens
from chat.core.transcript import Transcript
from chat.generation.store import AnswerSnapshot, CallResult, StoredBookmark, count_milliseconds, settle, settle_calls
from chat.generation.verdict import STOPPED_BY_USER, Verdict, make_interruption
from chat.leases import can_trust_leases, compute_lease_end, name_owner, read_clock
from chat.models import Message, Outcome, ProviderCall
from chat.observability import metrics


def find_live(answers: Collection[str]) -> set[str]:
    """Return those of the answers, by their ids, that are live."""
    return {str(answer) for answer in Message.objects.live().filter(pk__in=answers).values_list("pk", flat=True)}


class LostAnswer(NamedTuple):
    """A live answer whose owner is gone, and that is ours now, as its last owner left it.

    `cause` is the code of its interruption: `server_lost`, or `server_restart` where its owner left it on purpose.
    `is_whole` says whether the snapshot has all the text that any reader has seen. It has when its owner released it,
    or when its provider keeps the response, which can be read again. Otherwise the rest has to come from the broker.
    """

    snapshot: AnswerSnapshot
    user_id: int
    cause: str
    seconds_ago: float
    is_stopped: bool  # its user had asked for that before it was lost
    losses: int
    has_schema: bool
    is_whole: bool
    model: str
    conversation_id: UUID

    @property
    def id(self) -> UUID:
        return self.snapshot.id


def seize_expired(
    most: int | None = None,
    watched: Collection[UUID] = (),
    own: Collection[tuple[UUID, int]] = (),
    *,
    ago: float = 0.0,
) -> list[LostAnswer]:
    """Become the owner of at most `most` live answers whose lease ran out `ago` seconds ago or earlier.

    `own` are the answers that this process writes, as ids with their fences: they are left out, because this process is
    late with their leases, and not gone.

    Answers with readers come first: those in `watched`, and those that a process has marked as watched; among them the
    oldest. The fence rises with the owner, so that of two processes that seize the same answer one finds no row, and so
    does the previous owner.
    """
    if not can_trust_leases():
        return []
    now = read_clock()
    expired = Message.objects.live().filter(lease_until__lt=now - timedelta(seconds=ago))
    oldest_first = expired.select_related("conversation").order_by("created_at").only(*_LOST_FIELDS)
    rows = [row for row in oldest_first if (row.pk, row.fence) not in own]
    recently = now - timedelta(seconds=settings.CHAT_LEASE)
    rows.sort(key=lambda row: not (row.pk in watched or (row.watched_at is not None and row.watched_at > recently)))
    seized = [row for row in rows[:most] if _seize(row.pk, row.fence)]
    # Read once more: the previous owner may have written until it was seized.
    found = Message.objects.in_bulk([row.pk for row in seized])
    _drop_ended_bookmarks(found.values())
    return [_make_lost(found[row.pk], row, now) for row in seized if row.pk in found]


def _drop_ended_bookmarks(answers: Iterable[Message]) -> None:
    """Clear the bookmark of each answer whose call has been settled: a later call may have begun since.

    A call may end between two checkpoints.
    """
    marked = [answer for answer in answers if answer.bookmark is not None]
    calls = [answer.bookmark["call"] for answer in marked if answer.bookmark is not None]
    running = set(ProviderCall.objects.filter(pk__in=calls, outcome=Outcome.RUNNING).values_list("pk", flat=True))
    for answer, call in zip(marked, calls, strict=True):
        if call not in running:
            answer.bookmark = None


_LOST_FIELDS = ("fence", "owner", "lease_until", "watched_at", "conversation__user")


def _seize(answer_id: UUID, fence: int) -> int:
    lost = Message.objects.live().filter(pk=answer_id, fence=fence, lease_until__lt=Now())
    seized = lost.update(fence=fence + 1, owner=name_owner(), lease_until=compute_lease_end())
    if seized:  # its calls are ours now; otherwise another process would settle one whose response can be followed
        calls = ProviderCall.objects.filter(answer=answer_id, purpose=ProviderCall.Purpose.ANSWER)
        calls.filter(outcome=Outcome.RUNNING).update(lease_until=compute_lease_end())
    return seized


def _make_lost(answer: Message, before: Message, now: datetime) -> LostAnswer:
    """Return an answer as it is now, with what was known of its owner before it was seized."""
    snapshot = AnswerSnapshot.from_transcript(
        answer.pk,
        answer.fence,
        answer.restore_transcript(),
        answer.first_token_at,
        StoredBookmark.from_members(answer.bookmark),
    )
    return LostAnswer(
        snapshot,
        user_id=before.conversation.user_id,
        cause="server_lost" if before.owner else "server_restart",
        seconds_ago=(now - before.lease_until).total_seconds() if before.lease_until else 0.0,
        is_stopped=answer.stop_requested_at is not None,
        losses=answer.losses,
        has_schema=answer.response_schema is not None,
        is_whole=not before.owner or answer.bookmark is not None,
        model=answer.model,
        conversation_id=answer.conversation_id,
    )


def settle_lost(lost: LostAnswer) -> bool:
    """End an answer that was seized, with estimates for the call that was under way.

    It is interrupted, or stopped where its user had asked for that before its owner went away.
    """
    with transaction.atomic():
        # Its user may have asked for it since it was seized.
        stopped = Message.objects.filter(pk=lost.id, stop_requested_at__isnull=False)
        verdict = STOPPED_BY_USER if lost.is_stopped or stopped.exists() else make_interruption(lost.cause)
        if not settle(lost.snapshot, verdict, ()):
            return False
        settle_running_calls(lost.snapshot, verdict)
    model = Message.objects.filter(pk=lost.snapshot.id).values_list("model", flat=True).first() or ""
    metrics.count_end(model, verdict.status, verdict.error_code)
    metrics.count_recovery(model, lost.cause, "left")
    return True


def settle_running_calls(snapshot: AnswerSnapshot, verdict: Verdict) -> None:
    """Settle the calls that the last owner of an answer had under way, with estimates."""
    calls = ProviderCall.objects.filter(answer=snapshot.id, purpose=ProviderCall.Purpose.ANSWER)
    settle_calls(_make_lost_results(snapshot, calls.filter(outcome=Outcome.RUNNING).order_by("-pk")), verdict)


def _make_lost_results(snapshot: AnswerSnapshot, calls: Iterable[ProviderCall]) -> Iterator[CallResult]:
    """Yield the results of calls, the last one first, estimated from the text that the answer got since each began.

    What the provider had reported is on the call's row. A row without input is a call that was never sent.
    """
    now = timezone.now()
    transcript = Transcript.restore(snapshot.text, snapshot.reasoning, snapshot.outline)
    end = transcript.position
    for call in calls:
        start = call.start or 0
        reasoning, rest = _estimate_tokens(transcript.read_since(start, end))
        usage = call.usage.raise_output(reasoning + rest, reasoning)
        first = call.first_token_ms
        if first is None and not start and snapshot.first_token_at:
            first = count_milliseconds(call.started_at, snapshot.first_token_at)
        yield CallResult(call, usage, first, count_milliseconds(call.started_at, now))
        end = start


def _estimate_tokens(events: Iterable[Lasting]) -> tuple[int, int]:
    """Return the tokens of the reasoning and of all other text in these events, by estimate."""
    lengths = {True: 0, False: 0}
    for event in events:
        if isinstance(event, TextEvent):
            lengths[isinstance(event, Reasoning)] += len(get_text(event))
    return estimate_tokens(lengths[True]), estimate_tokens(lengths[False])
