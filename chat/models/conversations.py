"""Conversations, their messages as a tree, and the tool calls of answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connections, models
from django.db.models import F, Q
from django.db.models.expressions import RawSQL
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.urls import reverse
from django.utils import timezone

from chat.core.errors import CODES
from chat.core.events import Done, Error, Terminal, Usage
from chat.core.lines import join_lines
from chat.core.transcript import Transcript
from chat.models.compiled import Placeholder, Select
from chat.models.deadlocks import retry_after_deadlock
from chat.models.provider_calls import NO_USAGE, ProviderCall
from chat.models.users import User

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager

TITLE_LENGTH = 80

# The messages on a page at first, and in each further piece.
MESSAGES_SHOWN = 40


# Seconds for which a deleted conversation can be restored by its user.
UNDO_FOR = 10.0


class TitledBy(models.TextChoices):
    """The author of a title. A title from before this was kept has none, and only its user may change it."""

    RULE = "rule"
    MODEL = "model"
    USER = "user"


class ConversationQuerySet(models.QuerySet["Conversation"]):
    """Conversations of a user."""

    def owned_by(self, user: User) -> ConversationQuerySet:
        """Select what a user has; what they have deleted is gone for them, though it can be restored for a moment."""
        return self.filter(user=user, deleted_at=None)

    def unread(self) -> ConversationQuerySet:
        """Select those in which an answer has ended since their user last saw them."""
        return self.filter(answered_at__isnull=False).exclude(read_at__gte=F("answered_at"))


class Conversation(models.Model):
    """A tree of messages, with the settings that its questions are asked with."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=TITLE_LENGTH, blank=True)
    titled_by = models.CharField(max_length=5, choices=TitledBy.choices, blank=True, default="", db_default="")
    system_prompt = models.TextField(
        blank=True,
        max_length=20_000,
        help_text="What the model is told first, in place of what the site tells it.",
    )
    temperature = models.FloatField(
        null=True,
        blank=True,
        validators=(MinValueValidator(0), MaxValueValidator(2)),
        help_text="From 0, matter of fact, to 2, wild. Empty: the model's own.",
    )
    max_tokens = models.PositiveIntegerField(
        "longest answer",
        null=True,
        blank=True,
        validators=(MinValueValidator(1),),
        help_text="In tokens. Empty: the model's own limit.",
    )
    effort = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        help_text="How much the model thinks, in its provider's word. Empty: the site's own.",
    )
    leaf = models.ForeignKey(
        "Message",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The message at the end of the branch that is shown.",
    )
    indexed_title = models.CharField(
        max_length=TITLE_LENGTH,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="The title that the search index has. Another one is indexed by the next sweep, see chat.search.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    pinned_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(
        null=True, blank=True, help_text="When its user deleted it; the sweep deletes it for good a moment later."
    )
    answered_at = models.DateTimeField(null=True, blank=True, help_text="When an answer last ended in it.")
    read_at = models.DateTimeField(null=True, blank=True, help_text="When its user last saw it.")

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ("-updated_at",)
        indexes = (
            models.Index(fields=("user", "-updated_at"), name="conversation_by_user"),
            models.Index(fields=("-created_at", "-id"), name="conversations_by_time"),  # the admin's list
            models.Index(fields=("-updated_at",), condition=~Q(title=F("indexed_title")), name="titles_to_index"),
            # Each list is read along an index of its own, however many conversations the others have.
            models.Index(
                fields=("user", "-updated_at", "-id"),
                condition=Q(pinned_at=None, archived_at=None, deleted_at=None),
                name="listed_conversations",
            ),
            models.Index(
                fields=("user", "-pinned_at", "-id"),
                condition=Q(pinned_at__isnull=False, deleted_at=None),
                name="pinned_conversations",
            ),
            models.Index(
                fields=("user", "-updated_at", "-id"),
                condition=Q(archived_at__isnull=False, deleted_at=None),
                name="archived_conversations",
            ),
            models.Index(fields=("deleted_at",), condition=Q(deleted_at__isnull=False), name="deleted_conversations"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(pinned_at=None) | Q(archived_at=None), name="no_archived_conversation_is_pinned"
            ),
        )

    def __str__(self) -> str:
        return join_lines(self.title) or "New chat"

    def get_absolute_url(self) -> str:
        return reverse("conversation", args=(self.pk,))

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete the conversation with all that is in it, and let no turn begin in it meanwhile; see `User.delete`."""
        delete = super().delete

        def delete_locked() -> tuple[int, dict[str, int]]:
            lock_conversations(Conversation.objects.using(using).filter(pk=self.pk))
            return delete(using, keep_parents)

        return retry_after_deadlock(delete_locked, using)

    @property
    def is_unread(self) -> bool:
        """True when an answer has ended in it since its user last saw it."""
        return self.answered_at is not None and (self.read_at is None or self.read_at < self.answered_at)

    def load_branch(self, before: uuid.UUID | None = None, most: int = MESSAGES_SHOWN) -> tuple[list[Message], bool]:
        """Return the last messages of the branch that is shown, at most `most`, and whether there are earlier ones.

        With `before`, they are the last ones before that question. A page is as long as its messages, so a long
        conversation is shown in pieces.
        """
        question = self.messages.only("parent").filter(pk=before, role=Role.USER).first() if before else None
        end = question.parent_id if question else self.leaf_id
        messages = self.messages.load_branch(end, most + 1)
        # A piece begins with a question, so that no answer is parted from its own.
        while len(messages) > most and messages[0].role != Role.USER:
            del messages[0]
        return messages, bool(messages) and messages[0].parent_id is not None


STOPPED = Done("stopped", "stopped")


class Role(models.TextChoices):
    """The author of a message."""

    USER = "user"
    ASSISTANT = "assistant"


class Status(models.TextChoices):
    """The states of an answer: queued → streaming → complete | stopped | interrupted."""

    QUEUED = "queued"
    STREAMING = "streaming"
    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


LIVE = (Status.QUEUED, Status.STREAMING)

# A branch is walked from its end, message by message, so that its last ones cost the same however long it is.
_BRANCH = """
    WITH RECURSIVE branch (id, parent_id, length) AS (
        SELECT id, parent_id, 1 FROM chat_message WHERE id = %s
        UNION ALL
        SELECT earlier.id, earlier.parent_id, length + 1
        FROM branch JOIN chat_message AS earlier ON earlier.id = branch.parent_id
        WHERE length < %s
    )
    SELECT id FROM branch
"""
_WHOLE = 2**31 - 1


class MessageQuerySet(models.QuerySet["Message"]):
    """Messages by their status, their user, or their place in the tree."""

    def answers(self) -> MessageQuerySet:
        return self.filter(role=Role.ASSISTANT)

    def live(self) -> MessageQuerySet:
        return self.filter(role=Role.ASSISTANT, status__in=LIVE)

    def owned_by(self, user: User | Placeholder) -> MessageQuerySet:
        return self.filter(conversation__user=user, conversation__deleted_at=None)

    def load_branch(self, end: uuid.UUID | None, most: int) -> list[Message]:
        """Return the last messages, at most `most`, of the branch that ends with the message `end`, in their order."""
        return sort_branch(self.select_branch(end, most), end)

    def count_branch(self, end: uuid.UUID | None) -> int:
        """Count the messages of the branch that ends with the message `end`."""
        return self.select_branch(end).count()

    def select_branch(self, end: uuid.UUID | Placeholder | None, most: int | Placeholder = _WHOLE) -> MessageQuerySet:
        """Select the last `most` messages, or all, of the branch that ends with the message `end`; in any order."""
        key = end if isinstance(end, Placeholder) else Message._meta.pk.get_db_prep_value(end, connections[self.db])
        return self.filter(pk__in=RawSQL(_BRANCH, (key, most))).order_by()  # noqa: S611 - the values are parameters

    def select_attempts(self, parent: uuid.UUID | Placeholder | None, role: str | Placeholder) -> MessageQuerySet:
        """Select the messages of one author that follow one message, oldest first."""
        return self.filter(parent=parent, role=role).order_by("created_at", "pk")


def sort_branch(messages: Iterable[Message], end: uuid.UUID | None) -> list[Message]:
    """Return the messages of a branch that ends with the message `end`, from the first one."""
    found = {message.pk: message for message in messages}
    branch = []
    while end in found:
        branch.append(found[end])
        end = found[end].parent_id
    return branch[::-1]


class Message(models.Model):
    """A question, complete from the start, or an answer, which `chat.generation` alone writes while it is live."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    role = models.CharField(max_length=9, choices=Role.choices)
    text = models.TextField(blank=True)
    reasoning = models.TextField(blank=True)
    outline = models.JSONField(
        default=list, blank=True, help_text="How text and reasoning follow each other, see chat.core.transcript."
    )
    position = models.PositiveIntegerField(default=0)
    bookmark = models.JSONField(
        null=True,
        blank=True,
        editable=False,
        help_text="Where the provider's response can be taken up, while it is written; see chat.core.events.Bookmark.",
    )
    omitted = models.PositiveIntegerField(
        default=0, help_text="Earlier messages that did not fit into what the model reads."
    )

    status = models.CharField(max_length=11, choices=Status.choices, default=Status.COMPLETE)
    error_code = models.CharField(max_length=20, blank=True, choices=[(code, code) for code in CODES])
    finish_reason = models.CharField(max_length=20, blank=True)
    model = models.CharField(max_length=200, blank=True, help_text="provider:model of an answer.")
    asked_model = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="The model that was asked for, where another one answers in its place.",
    )
    effort = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        help_text="The effort that the model was asked for, in its provider's word.",
    )

    response_schema = models.JSONField(
        null=True, blank=True, help_text="The JSON schema that this answer has to keep to."
    )

    owner = models.CharField(max_length=64, blank=True, help_text="The process that writes this answer.")
    fence = models.PositiveIntegerField(default=0, help_text="Grows with each owner; an older one writes nothing.")
    lease_until = models.DateTimeField(null=True, blank=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    watched_at = models.DateTimeField(null=True, blank=True, help_text="When a reader elsewhere last looked.")

    # How this answer was continued automatically, see chat.generation.recovery. They have defaults in the database, for
    # rows that a process of an older version writes during an upgrade.
    losses = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often its server went away and another one went on with it."
    )
    breaks = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often its provider broke off and was asked to continue."
    )
    interrupted_by = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        help_text="The code of the last interruption after which it was continued.",
    )

    continued_by = models.UUIDField(
        null=True, blank=True, help_text="The turn with which a program continued it last: sent again, it does nothing."
    )

    is_indexed = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Whether the search index has the text as it is. That of a live answer still grows.",
    )

    shown_leaf = models.UUIDField(
        null=True,
        blank=True,
        editable=False,
        help_text="The end of the branch that was shown after this message when another one took its place.",
    )

    # Not `auto_now_add`, which would give a message that was written elsewhere the time of its import.
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    first_token_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    spending: Any = None
    """The answer's cost, where a page of many has looked it up for all; see `chat.accounting.spending`."""

    attempt_ids: list[uuid.UUID] | None = None
    """The keys of `select_attempts`, where they are known."""

    rating: Any = False
    """Its user's rating, where a page of many has looked those up; None for none."""

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ("created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("conversation",),
                condition=Q(status__in=LIVE),
                name="one_live_answer_per_conversation",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.INTERRUPTED, error_code__gt="")
                | (~Q(status=Status.INTERRUPTED) & Q(error_code="")),
                name="interrupted_has_an_error_code",
            ),
            models.CheckConstraint(
                condition=Q(role=Role.ASSISTANT) | Q(role=Role.USER, status=Status.COMPLETE),
                name="a_question_is_complete",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=LIVE) | Q(lease_until__isnull=False), name="a_live_answer_has_a_lease"
            ),
        )
        indexes = (
            models.Index(fields=("lease_until",), condition=Q(status__in=LIVE), name="live_answers_by_lease"),
            models.Index(fields=("conversation", "created_at"), name="messages_in_order"),
            models.Index(fields=("-created_at", "-id"), name="messages_by_time"),  # the admin's list
            models.Index(
                fields=("error_code", "model", "created_at"),
                condition=Q(status=Status.INTERRUPTED),
                name="interrupted_answers",
            ),
            models.Index(
                fields=("-created_at", "-id"), condition=Q(status=Status.INTERRUPTED), name="interrupted_by_time"
            ),
            # Those of one model or code, the latest first: PostgreSQL reads and sorts all of them otherwise.
            models.Index(
                fields=("model", "-created_at", "-id"),
                condition=Q(status=Status.INTERRUPTED),
                name="interrupted_by_model",
            ),
            models.Index(
                fields=("error_code", "-created_at", "-id"),
                condition=Q(status=Status.INTERRUPTED),
                name="interrupted_by_code",
            ),
            models.Index(fields=("created_at",), condition=~Q(interrupted_by=""), name="answers_gone_on_with"),
            models.Index(fields=("-created_at",), condition=Q(is_indexed=False), name="messages_to_index"),
        )
        permissions = (
            ("retry_answer", "Can see failed answers, retry them for their users, and dismiss them"),
            ("read_conversations", "Can read what users and models wrote"),
        )

    def __str__(self) -> str:
        """Name the message without its text: the admin shows this to people who may not read it."""
        return f"{self.get_role_display()} message {self.pk}"

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def is_interrupted(self) -> bool:
        return self.status == Status.INTERRUPTED

    @property
    def error_message(self) -> str:
        """The sentence for people, or nothing when there is no error."""
        return CODES[self.error_code].message if self.error_code else ""

    @property
    def retryable(self) -> bool:
        return bool(self.error_code) and CODES[self.error_code].retryable

    @property
    def is_continuable(self) -> bool:
        """True when a partial answer can be continued: it has text, and no message follows it.

        JSON by a schema cannot be: a model that is asked for it begins at its start.
        """
        is_partial = self.response_schema is None and (
            self.status in (Status.STOPPED, Status.INTERRUPTED) or self.finish_reason == "length"
        )
        return is_partial and bool(self.text.strip()) and not self.children.exists()

    @property
    def wanted_model(self) -> str:
        """The model that was asked for, whichever answered."""
        return self.asked_model or self.model

    @property
    def interruptions(self) -> int:
        """The number of times that it was interrupted and continued automatically."""
        return self.losses + self.breaks

    @property
    def first_token_ms(self) -> int | None:
        return self._measure_until("first_token_at")

    @property
    def total_ms(self) -> int | None:
        return self._measure_until("finished_at")

    def _measure_until(self, name: str) -> int | None:
        moment: datetime | None = getattr(self, name)
        return round((moment - self.created_at).total_seconds() * 1000) if moment else None

    def restore_transcript(self) -> Transcript:
        return Transcript.restore(self.text, self.reasoning, self.outline)

    @property
    def end(self) -> int:
        """The position of the last event of a finished answer: its usage and its end follow its text."""
        return self.position + 2

    def make_terminal(self) -> Terminal:
        """Return the last event of a finished answer."""
        if self.status == Status.INTERRUPTED:
            return Error(self.error_code, self.error_message, self.retryable)
        if self.status == Status.STOPPED:
            return STOPPED
        return Done("complete", self.finish_reason)

    def sum_usage(self) -> Usage:
        """Return the tokens of all upstream calls that wrote this answer, see `ProviderCallQuerySet.sum_usages`."""
        return ProviderCall.objects.filter(answer=self).sum_usages().get(self.pk, NO_USAGE)

    def find_leaf(self) -> Message:
        """Return the end of the branch after this message that was shown last, or else the one continued last."""
        leaf = self.conversation.messages.filter(pk=self.shown_leaf).first() if self.shown_leaf else None
        return leaf.find_newest_leaf() if leaf else self.find_newest_leaf()

    def find_newest_leaf(self) -> Message:
        """Return the end of the branch after this message that was continued last."""
        followed = self.conversation.messages.exclude(parent=None).order_by("created_at")
        newest = dict(followed.values_list("parent_id", "pk"))
        pk = self.pk
        while pk in newest:
            pk = newest[pk]
        return self if pk == self.pk else Message.objects.get(pk=pk)

    def select_attempts(self) -> MessageQuerySet:
        """Select this message and its siblings of the same author, oldest first."""
        # By the parent alone: with the conversation's index SQLite would look through all of its messages.
        siblings = Message.objects.select_attempts(self.parent_id, self.role)
        return siblings if self.parent_id else siblings.filter(conversation=self.conversation_id)

    def list_attempt_ids(self) -> list[uuid.UUID]:
        """Return the keys of `select_attempts`, which a page asks for with each of its messages."""
        if self.attempt_ids is not None:
            return self.attempt_ids
        if self.parent_id is None:
            return _root_siblings.list_keys(self.conversation_id, self.role)
        return _siblings.list_keys(self.parent_id, self.role)

    if TYPE_CHECKING:
        calls: RelatedManager[ProviderCall]
        tool_calls: RelatedManager[ToolCall]
        children: RelatedManager[Message]


_siblings = Select(
    Message,
    lambda parent, role: Message.objects.only("pk").select_attempts(parent, role),
    models.UUIDField(),
    models.CharField(),
)
_root_siblings = Select(
    Message,
    lambda conversation, role: Message.objects.only("pk").filter(conversation=conversation).select_attempts(None, role),
    models.UUIDField(),
    models.CharField(),
)


class ToolCall(models.Model):
    """A tool that an answer called, as the model read it. The answer's outline has what readers see of it.

    The row is written before the tool is run, and its result before it is published: a tool whose row is there
    is never run again, whichever process continues the answer.
    """

    answer = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="tool_calls")
    call_id = models.CharField(max_length=200, help_text="The provider's; it may come again in a later step.")
    name = models.CharField(max_length=64)
    arguments = models.TextField(blank=True)
    result = models.TextField(blank=True)
    summary = models.CharField(max_length=200, blank=True)
    ok = models.BooleanField(default=False)
    milliseconds = models.PositiveIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, help_text="Empty while it runs, and when its answer ended first.")

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.name}: {self.summary}"


@receiver(pre_delete, sender=Conversation)
def lock_live_answers(instance: Conversation, using: str, **signal: Any) -> None:
    """Lock the live answers of a conversation that is being deleted, alone or with its user, before any other row.

    Their owners lock an answer before its rows on the ledger, and Django deletes in the opposite order: on PostgreSQL
    one of the two was undone as a deadlock.
    """
    _lock_live_answers(Conversation.objects.using(using).filter(pk=instance.pk))


def lock_conversations(conversations: ConversationQuerySet) -> None:
    """Lock conversations that are about to be deleted, so that no turn begins in them meanwhile."""
    _lock_live_answers(conversations)  # first: an answer's owner locks it before its conversation
    list(conversations.order_by("pk").select_for_update().values_list("pk"))


def _lock_live_answers(conversations: ConversationQuerySet) -> None:
    if connections[conversations.db].features.has_select_for_update:
        live = Message.objects.using(conversations.db).live().filter(conversation__in=conversations)
        list(live.order_by("pk").select_for_update().values_list("pk"))
