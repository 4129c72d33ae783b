"""What was said: conversations, their messages as a tree, and the tools that answers called."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connections, models
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.urls import reverse

from chat.errors import CODES
from chat.events import Done, Error, Terminal, Usage
from chat.models.ledger import NO_USAGE, ProviderCall
from chat.models.prepared import Place, Select
from chat.models.users import User
from chat.transcript import Transcript

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager

TITLE_LENGTH = 80

# So many are on a page at first, and come with each further piece.
MESSAGES_SHOWN = 40


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def owned_by(self, user: User) -> ConversationQuerySet:
        return self.filter(user=user)


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=TITLE_LENGTH, blank=True)
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
    leaf = models.ForeignKey(
        "Message",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The message at the end of the branch that is shown.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ("-updated_at",)
        indexes = (models.Index(fields=("user", "-updated_at"), name="conversation_by_user"),)

    def __str__(self) -> str:
        return self.title or "New chat"

    def get_absolute_url(self) -> str:
        return reverse("conversation", args=(self.pk,))

    def branch(self, before: uuid.UUID | None = None) -> tuple[list[Message], bool]:
        """The last turns of the branch that is shown, or the last ones before the question `before`; and whether there
        are earlier ones. A page is as long as its messages, so a long conversation is shown in pieces."""
        question = self.messages.only("parent").filter(pk=before, role=Role.USER).first() if before else None
        end = question.parent_id if question else self.leaf_id
        messages = self.messages.branch(end, MESSAGES_SHOWN + 1)
        # A piece begins with a question, so that no answer is parted from its own.
        while len(messages) > MESSAGES_SHOWN and messages[0].role != Role.USER:
            del messages[0]
        return messages, bool(messages) and messages[0].parent_id is not None


STOPPED = Done("stopped", "stopped")


class Role(models.TextChoices):
    USER = "user"
    ASSISTANT = "assistant"


class Status(models.TextChoices):
    """An answer's way: queued → streaming → complete | stopped | interrupted."""

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
    def answers(self) -> MessageQuerySet:
        return self.filter(role=Role.ASSISTANT)

    def live(self) -> MessageQuerySet:
        return self.filter(role=Role.ASSISTANT, status__in=LIVE)

    def owned_by(self, user: User | Place) -> MessageQuerySet:
        return self.filter(conversation__user=user)

    def branch(self, end: uuid.UUID | None, most: int) -> list[Message]:
        """The last messages, at most so many, of the branch that ends with the message `end`; in their order."""
        return in_order(self.on_branch(end, most), end)

    def length_of_branch(self, end: uuid.UUID | None) -> int:
        """How many messages the branch that ends with the message `end` has."""
        return self.on_branch(end, _WHOLE).count()

    def on_branch(self, end: uuid.UUID | Place | None, most: int | Place) -> MessageQuerySet:
        """Those messages, in any order."""
        key = end if isinstance(end, Place) else Message._meta.pk.get_db_prep_value(end, connections[self.db])
        return self.filter(pk__in=RawSQL(_BRANCH, (key, most))).order_by()  # noqa: S611 - the values are parameters

    def attempts(self, parent: uuid.UUID | Place | None, role: str | Place) -> MessageQuerySet:
        """What was said by one side after one message, oldest first."""
        return self.filter(parent=parent, role=role).order_by("created_at", "pk")


def in_order(messages: Iterable[Message], end: uuid.UUID | None) -> list[Message]:
    """The messages of a branch that ends with the message `end`, from the first one."""
    found = {message.pk: message for message in messages}
    branch = []
    while end in found:
        branch.append(found[end])
        end = found[end].parent_id
    return branch[::-1]


class Message(models.Model):
    """One thing said. A question is complete from the start; an answer is written by `chat.generation` alone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    role = models.CharField(max_length=9, choices=Role.choices)
    text = models.TextField(blank=True)
    reasoning = models.TextField(blank=True)
    outline = models.JSONField(
        default=list, blank=True, help_text="How text and reasoning follow each other, see chat.transcript."
    )
    position = models.PositiveIntegerField(default=0)
    omitted = models.PositiveIntegerField(
        default=0, help_text="Earlier messages that did not fit into what the model reads."
    )

    status = models.CharField(max_length=11, choices=Status.choices, default=Status.COMPLETE)
    error_code = models.CharField(max_length=20, blank=True, choices=[(code, code) for code in CODES])
    finish_reason = models.CharField(max_length=20, blank=True)
    model = models.CharField(max_length=200, blank=True, help_text="provider:model of an answer.")

    response_schema = models.JSONField(
        null=True, blank=True, help_text="The JSON schema that this answer has to keep to."
    )

    owner = models.CharField(max_length=64, blank=True, help_text="The process that writes this answer.")
    fence = models.PositiveIntegerField(default=0, help_text="Grows with each owner; an older one writes nothing.")
    lease_until = models.DateTimeField(null=True, blank=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    watched_at = models.DateTimeField(null=True, blank=True, help_text="When a reader elsewhere last looked.")

    created_at = models.DateTimeField(auto_now_add=True)
    first_token_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

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
            models.Index(
                fields=("error_code", "model", "created_at"),
                condition=Q(status=Status.INTERRUPTED),
                name="interrupted_answers",
            ),
        )
        permissions = (
            ("retry_answer", "Can see failed answers, retry them for their users, and dismiss them"),
            ("read_conversations", "Can read what users and models wrote"),
        )

    def __str__(self) -> str:
        """Nothing of the text: the admin writes this where people look who may not read it."""
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
        """Whether there is something to go on with, and nothing was said after it. JSON by a schema is not: a model
        that is asked for it begins anew."""
        is_partial = self.response_schema is None and (
            self.status in (Status.STOPPED, Status.INTERRUPTED) or self.finish_reason == "length"
        )
        return is_partial and bool(self.text.strip()) and not self.children.exists()

    @property
    def first_token_ms(self) -> int | None:
        return self._milliseconds_to("first_token_at")

    @property
    def total_ms(self) -> int | None:
        return self._milliseconds_to("finished_at")

    def _milliseconds_to(self, name: str) -> int | None:
        moment: datetime | None = getattr(self, name)
        return round((moment - self.created_at).total_seconds() * 1000) if moment else None

    def transcript(self) -> Transcript:
        return Transcript.restore(self.text, self.reasoning, self.outline)

    def terminal(self) -> Terminal:
        """The last event of a finished answer."""
        if self.status == Status.INTERRUPTED:
            return Error(self.error_code, self.error_message, self.retryable)
        if self.status == Status.STOPPED:
            return STOPPED
        return Done("complete", self.finish_reason)

    def usage(self) -> Usage:
        """Tokens of all upstream calls for this answer; estimated when any of them is."""
        return ProviderCall.objects.filter(answer=self).usages().get(self.pk, NO_USAGE)

    def newest_leaf(self) -> Message:
        """The end of the branch that was last gone on with after this message."""
        followed = self.conversation.messages.exclude(parent=None).order_by("created_at")
        newest = dict(followed.values_list("parent_id", "pk"))
        pk = self.pk
        while pk in newest:
            pk = newest[pk]
        return self if pk == self.pk else Message.objects.get(pk=pk)

    def attempts(self) -> MessageQuerySet:
        """This answer and its siblings, oldest first."""
        # By the parent alone: with the conversation's index SQLite would look through all of its messages.
        siblings = Message.objects.attempts(self.parent_id, self.role)
        return siblings if self.parent_id else siblings.filter(conversation=self.conversation_id)

    def attempt_ids(self) -> list[uuid.UUID]:
        """The keys of `attempts`, which a page asks for with each of its messages."""
        if self.parent_id is None:
            return _first_ones.keys(self.conversation_id, self.role)
        return _siblings.keys(self.parent_id, self.role)

    if TYPE_CHECKING:
        calls: RelatedManager[ProviderCall]
        tool_calls: RelatedManager[ToolCall]
        children: RelatedManager[Message]


_siblings = Select(
    Message,
    lambda parent, role: Message.objects.only("pk").attempts(parent, role),
    models.UUIDField(),
    models.CharField(),
)
_first_ones = Select(
    Message,
    lambda conversation, role: Message.objects.only("pk").filter(conversation=conversation).attempts(None, role),
    models.UUIDField(),
    models.CharField(),
)


class ToolCall(models.Model):
    """A tool that an answer called. What is shown of it lies in the answer's outline; this is what the model read."""

    answer = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="tool_calls")
    call_id = models.CharField(max_length=200, help_text="The provider's; it may come again in a later step.")
    name = models.CharField(max_length=64)
    arguments = models.TextField(blank=True)
    result = models.TextField(blank=True)
    summary = models.CharField(max_length=200, blank=True)
    ok = models.BooleanField()
    milliseconds = models.PositiveIntegerField()
    finished_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.name}: {self.summary}"
