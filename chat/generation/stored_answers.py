"""Reading answers from the database, for readers whom no broker can serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from chat.broker.base import LONGEST_BATCH, Batch
from chat.core.events import Event, Terminal, Usage
from chat.core.transcript import Transcript
from chat.models import LIVE, Message


class StoredAnswer(NamedTuple):
    """An answer as the database has it; `ending` is None while it is live, and `fence` is its last owner's."""

    transcript: Transcript
    ending: tuple[Usage, Terminal] | None
    fence: int

    def read_since(self, position: int) -> Batch:
        """Return what a reader at this position lacks, as a broker would give it."""
        position = self.transcript.skip_split_event(position)
        until = position + LONGEST_BATCH
        events: list[Event] = [*self.transcript.read_since(position, until)]
        if self.ending is None or until < self.transcript.position:
            return Batch(position, events)
        if position > self.transcript.position:  # the reader has the usage already: only the last event follows it
            return Batch(self.transcript.position + 1, self.ending[1:])
        return Batch(position, [*events, *self.ending])


def load_answers(wanted: Mapping[UUID, int]) -> dict[UUID, StoredAnswer]:
    """Return the answers that exist, for readers who have them up to these positions.

    Nothing is loaded of those that are live and have not grown.
    """
    found = {}
    grown = []
    rows = Message.objects.filter(pk__in=wanted).values_list("pk", "position", "status", "fence")
    for answer_id, position, status, fence in rows:
        if status in LIVE and position <= wanted[answer_id]:
            found[answer_id] = StoredAnswer(Transcript(position), None, fence)
        else:
            grown.append(answer_id)
    for answer in Message.objects.filter(pk__in=grown):
        found[answer.pk] = StoredAnswer(
            answer.restore_transcript(),
            None if answer.is_live else (answer.sum_usage(), answer.make_terminal()),
            answer.fence,
        )
    return found
