"""The open failures: failed answers that the staff still have to deal with."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q

from chat.models import Dismissal, ImportedAnswer, Message, MessageQuerySet, ProviderCall, Role, Status


def select_open_failures() -> MessageQuerySet:
    """Return the failed answers that are open.

    A failure is open while the answer is the last attempt at its question, ended `interrupted`, and is not dismissed. A
    later attempt takes its place, however that one ended.
    """
    return select_failed_last_attempts().exclude(match_dismissed())


def select_failed_last_attempts(among: MessageQuerySet | None = None) -> MessageQuerySet:
    """Return the failed answers without a later attempt, dismissed or not, of all messages or `among` some.

    One that failed on another site, before its user brought it here, is not among them.
    """
    later = Message.objects.filter(
        parent=OuterRef("parent"), role=Role.ASSISTANT, created_at__gt=OuterRef("created_at")
    )
    answers = (Message.objects.all() if among is None else among).answers()
    return answers.filter(~Exists(later), status=Status.INTERRUPTED).exclude(match_failed_elsewhere())


def match_failed_elsewhere() -> Q:
    """Return the condition that an answer was brought here as it is: this site has made no call for it."""
    brought = ImportedAnswer.objects.filter(answer=OuterRef("pk"))
    return Q(Exists(brought)) & ~Q(Exists(ProviderCall.objects.filter(answer=OuterRef("pk"))))


def match_dismissed() -> Exists:
    """Return the condition that an answer has been dismissed."""
    return Exists(Dismissal.objects.filter(answer=OuterRef("pk"), undone_at=None))
