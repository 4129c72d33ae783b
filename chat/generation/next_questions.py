"""Asking the next questions of conversations whose answer has ended, in this process or in one that is gone."""

from __future__ import annotations

import logging
from uuid import UUID

from chat.conversations.actions import ask_next
from chat.core.errors import RefusedError
from chat.generation.runner import Runner
from chat.models import NextQuestion
from chat.observability.outages import FAULTS
from chat.tasks import run_in_thread, start_detached

log = logging.getLogger(__name__)

# Conversations in which one sweep asks a question; the next sweep, two seconds later, has the others.
ASKED_AT_ONCE = 50


class NextQuestionAsker:
    """Asks the next questions that are due: those that this process knows of at once, all others with the next sweep.

    The end of an answer costs no query where its conversation has no next question, because this process remembers the
    conversations that have one: they were kept here, or another process sent a notice. If a notice is lost, the
    question waits for the sweep, two seconds at most.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._known: set[UUID] = set()

    def note(self, conversation_id: UUID) -> None:
        """Note that a conversation has next questions, and ask the first one if it is due."""
        self._known.add(conversation_id)
        start_detached(self._ask(conversation_id))

    def note_end(self, conversation_id: UUID, user_id: int) -> None:
        """Note that an answer has ended: ask what comes next, or let it wait, and notify its pages."""
        if conversation_id in self._known:
            start_detached(self._ask(conversation_id, user_id))

    async def sweep(self) -> None:
        """Ask whatever is due, such as what a process that is gone has left."""
        if self._runner.draining:
            return
        for conversation_id in await run_in_thread(_find_all_due):
            await self._ask(conversation_id)

    async def _ask(self, conversation_id: UUID, ended_user_id: int | None = None) -> None:
        """Ask a conversation's next question. `ended_user_id` is its user, when an answer of theirs has just ended."""
        try:
            answer = await ask_next(self._runner, conversation_id)
            if not await run_in_thread(NextQuestion.objects.filter(conversation=conversation_id).exists):
                self._known.discard(conversation_id)
            elif answer is None and ended_user_id is not None:
                self._runner.tell_pages_of_next(ended_user_id, conversation_id)
        except RefusedError as refusal:
            log.info("conversation %s: its next question is asked later: %s", conversation_id, refusal.code)
        except FAULTS as error:
            log.warning("a next question is asked later: %s", str(error).partition("\n")[0])


def _find_all_due() -> list[UUID]:
    return list(NextQuestion.objects.due().values_list("conversation", flat=True)[:ASKED_AT_ONCE])
