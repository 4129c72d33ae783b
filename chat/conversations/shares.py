"""Shared links: one branch of a conversation, read by others without any of its owner's rights.

A link's secret has 256 bits. It is made of the row's random id and the site's key, so its owner can copy it again, and
a copy of the database alone opens nothing: that has only the secret's digest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone

from chat.conversations.actions import get_owned_conversation
from chat.conversations.turn_ids import NAMESPACE
from chat.core.errors import RefusedError
from chat.core.events import Continued, Reasoning, Remark, Thought, Token
from chat.core.transcript import Transcript
from chat.models import Conversation, Message, Role, Share, Status, User

# Messages of a branch that a link shows, the last ones: as many as a page of text can be.
MAX_SHOWN = 2000

# Links of one conversation that lead somewhere at a time.
MAX_OPEN = 100

_SECRET_SALT = b"chat.conversations.shares"


class SharingOffError(RefusedError):
    """The operator allows no links."""

    status, code = 403, "sharing_off"
    sentence = "This site does not share conversations."


class InvalidShareError(RefusedError):
    """A link cannot be made as it was asked for: one of its fields is wrong."""

    status, code = 400, "bad_request"

    def __init__(self, sentence: str, field: str) -> None:
        super().__init__(sentence)
        self.sentence, self.field = sentence, field


class NothingToShareError(RefusedError):
    """Nothing has been asked in the conversation yet."""

    status, code = 409, "nothing_to_share"
    sentence = "There is nothing to share yet: ask something first."


class TooManySharesError(RefusedError):
    """The conversation has as many open links as it may."""

    status, code = 409, "too_many"
    sentence = f"A conversation has at most {MAX_OPEN} links. Revoke one first."


@dataclass(frozen=True, slots=True)
class ShareOptions:
    """A link as its owner wants it."""

    audience: str = Share.Audience.TEAM
    goes_on: bool = False
    reasoning: bool = False
    tools: bool = False
    expires_at: datetime | None = None


def create_share(user: User, conversation_id: UUID, options: ShareOptions) -> Share:
    """Make a link to the branch that is shown of a user's own conversation.

    Raises Http404 for anybody else's, and `RefusedError` for what the site does not allow.
    """
    conversation = get_owned_conversation(user, conversation_id)
    _check(options)
    with transaction.atomic():
        # Locked, so that of many at once no more are made than there may be.
        Conversation.objects.select_for_update().filter(pk=conversation.pk).first()
        if conversation.leaf_id is None:
            raise NothingToShareError
        if Share.objects.open().filter(conversation=conversation).count() >= MAX_OPEN:
            raise TooManySharesError
        share = Share(
            conversation=conversation,
            leaf_id=conversation.leaf_id,
            audience=options.audience,
            goes_on=options.goes_on,
            reasoning=options.reasoning,
            tools=options.tools,
            expires_at=options.expires_at,
        )
        share.digest = Share.compute_digest(_make_secret(share.pk, settings.SECRET_KEY))
        share.save(force_insert=True)
    return share


def _check(options: ShareOptions) -> None:
    if settings.CHAT_SHARING == "off":
        raise SharingOffError
    if options.audience not in list_audiences():
        raise InvalidShareError(f"`audience` must be {' or '.join(list_audiences())}.", "audience")
    if options.expires_at is not None and options.expires_at <= timezone.now():
        raise InvalidShareError("The end of a link must lie in the future.", "expires_at")


def list_audiences() -> list[str]:
    """Return the audiences that the operator allows, the narrowest first."""
    allowed = {"off": 0, "team": 1, "link": 2}[settings.CHAT_SHARING]
    return [str(audience) for audience in (Share.Audience.TEAM, Share.Audience.LINK)[:allowed]]


def list_shares(user: User, conversation_id: UUID | None = None) -> QuerySet[Share]:
    """Select a user's own links, newest first; those of one conversation where it is given. Raises Http404."""
    shares = Share.objects.owned_by(user).select_related("conversation")
    if conversation_id is None:
        return shares
    return shares.filter(conversation=get_owned_conversation(user, conversation_id))


def revoke_share(user: User, share_id: UUID, conversation_id: UUID | None = None) -> Share:
    """Make a user's own link lead nowhere from now on, and return it; a second time changes nothing.

    Raises Http404 for anybody else's, and for one of another conversation than the given one.
    """
    share = list_shares(user, conversation_id).filter(pk=share_id).first()
    if share is None:
        raise Http404
    revoke_all(Share.objects.filter(pk=share.pk))
    share.refresh_from_db(fields=["revoked_at"])
    return share


def revoke_all(shares: QuerySet[Share]) -> int:
    """Revoke those of the links that are not revoked yet; return how many."""
    return shares.filter(revoked_at=None).update(revoked_at=timezone.now())


# Secrets


def find_secret(share: Share) -> str:
    """Return the secret of a link; "" when the site's key was changed and the old one is not among its fallbacks."""
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        secret = _make_secret(share.pk, key)
        if Share.compute_digest(secret) == share.digest:
            return secret
    return ""


def _make_secret(share_id: UUID, key: str) -> str:
    code = hmac.new(key.encode(), _SECRET_SALT + share_id.bytes, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(code).rstrip(b"=").decode()


# Reading


class LoginNeededError(Exception):
    """The link is for those who are logged in."""


def find_shared(secret: str, reader: User | None) -> Share:
    """Return the link with this secret, for somebody who reads it. Raises Http404, or `LoginNeededError`.

    The digest is looked up, not the secret: how long that takes says nothing about the secret.
    """
    if settings.CHAT_SHARING == "off":
        raise Http404
    found = (
        Share.objects.open().select_related("conversation", "leaf").filter(digest=Share.compute_digest(secret)).first()
    )
    if found is None:
        raise Http404
    if reader is None and (found.audience == Share.Audience.TEAM or settings.CHAT_SHARING == "team"):
        raise LoginNeededError
    return found


def find_open(shares: Collection[UUID]) -> set[UUID]:
    """Return those of the links that still lead somewhere."""
    return set(Share.objects.open().filter(pk__in=shares).values_list("pk", flat=True))


def load_shared_branch(share: Share) -> list[Message]:
    """Return the messages that a link shows, in their order."""
    leaf = share.leaf.find_newest_leaf() if share.goes_on else share.leaf
    messages = share.conversation.messages.load_branch(leaf.pk, MAX_SHOWN)
    while messages and messages[0].role != Role.USER:  # no answer is parted from its question
        del messages[0]
    return messages


# Going on in a copy


def copy_shared(reader: User, share: Share, turn: UUID) -> Conversation:
    """Keep what a link shows as a conversation of its reader's, and return that.

    It has the text that the link shows, and the reasoning where that is shown; no calls of tools, whose results the
    model would read in full, no settings, and nothing of the ledger. A partial answer is one that was stopped: it is no
    failure of the copy's. The same `turn` again returns the first copy; another one where that was deleted meanwhile.
    Raises `IntegrityError` when the reader is deleted meanwhile.
    """
    was_gone = False
    while True:
        turn = key = uuid.uuid5(NAMESPACE, f"copy:{reader.pk}:{share.pk}:{turn}")
        try:
            with transaction.atomic():
                return _create_copy(key, reader, share)
        except IntegrityError:
            earlier = Conversation.objects.filter(pk=key).first()
            if earlier is not None and earlier.deleted_at is None:
                return earlier
            # The row of a deleted one has its key for a minute, until the sweep deletes it: there are few of them. It
            # may have done so a moment ago, but not twice: then the reader is gone.
            if earlier is None and was_gone:
                raise
            was_gone = earlier is None


def _create_copy(key: UUID, reader: User, share: Share) -> Conversation:
    copy = Conversation.objects.create(pk=key, user=reader, title=share.conversation.title)
    messages = list(_copy_messages(copy, share))
    Message.objects.bulk_create(messages)
    copy.leaf = messages[-1] if messages else None
    copy.save(update_fields=["leaf"])
    return copy


def _copy_messages(copy: Conversation, share: Share) -> list[Message]:
    branch = load_shared_branch(share)
    if branch and branch[-1].is_live and not branch[-1].text.strip():
        del branch[-2:]  # nothing has been answered yet
    keys: dict[UUID | None, UUID] = {message.pk: uuid.uuid5(copy.pk, str(message.pk)) for message in branch}
    return [_copy_message(message, copy, keys, share) for message in branch]


def _copy_message(message: Message, copy: Conversation, keys: dict[UUID | None, UUID], share: Share) -> Message:
    transcript = _select_copied(message.restore_transcript(), with_reasoning=share.reasoning)
    is_whole = message.status == Status.COMPLETE
    return Message(
        pk=keys[message.pk],
        conversation=copy,
        parent_id=keys.get(message.parent_id),
        role=message.role,
        text=transcript.text,
        reasoning=transcript.reasoning,
        outline=transcript.outline if message.role == Role.ASSISTANT else [],
        position=transcript.position if message.role == Role.ASSISTANT else 0,
        status=Status.COMPLETE if is_whole else Status.STOPPED,
        finish_reason=message.finish_reason if is_whole else "stopped",
        model=message.model,
    )


def _select_copied(transcript: Transcript, *, with_reasoning: bool) -> Transcript:
    """Return what a copy has of an answer; texts that were parted by a tool call stay apart."""
    copied, is_apart = Transcript(), False
    for event in transcript.read_since(0):
        if isinstance(event, Reasoning | Thought) and with_reasoning:
            copied.append([event])
        elif isinstance(event, Token | Continued):
            if is_apart and isinstance(event, Token) and copied.text.strip():
                copied.append([Token("\n\n")])
            copied.append([event])
            is_apart = False
        else:
            is_apart = is_apart or not isinstance(event, Remark)
    return copied
