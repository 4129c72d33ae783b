"""The shapes of what programs send: one for each body, from which `/api/schema/` is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

ModelName = Annotated[str, Meta(min_length=1, max_length=200, description="A model's `id` in `GET /api/models/`.")]
EffortWord = Annotated[
    str, Meta(min_length=1, max_length=20, description="`fast`, `balanced`, `thorough`, or a word of the provider's.")
]
Turn = Annotated[UUID, Meta(description="An id that the client chooses; the same id again is the same request.")]


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """A JSON object with these fields and no others; a field that is left out is not the same as null."""


class Nothing(Body):
    """An empty object, or no body."""


class NewConversation(Body):
    """A conversation to make."""

    turn: Turn | UnsetType = UNSET


class ConversationChanges(Body):
    """The changes to a conversation; fields that are left out stay as they are."""

    title: Annotated[str, Meta(description="1 to 80 characters on one line.")] | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET


class Question(Body):
    """A question, or another wording of an earlier one."""

    content: str
    model: ModelName | UnsetType = UNSET
    effort: EffortWord | UnsetType = UNSET
    turn: Turn | UnsetType = UNSET
    edits: Annotated[UUID, Meta(description="The earlier question whose place it takes.")] | UnsetType = UNSET
    response_schema: dict[str, Any] | UnsetType = UNSET
    response_format: dict[str, Any] | UnsetType = UNSET


class Retry(Body):
    """One more attempt at a question."""

    model: ModelName | UnsetType = UNSET
    effort: EffortWord | UnsetType = UNSET
    turn: Turn | UnsetType = UNSET


class Continuation(Body):
    """The rest of a partial answer."""

    model: ModelName | UnsetType = UNSET
    turn: Turn | UnsetType = UNSET


class NewRating(Body):
    """A rating of an answer; fields that are left out stay as they were."""

    value: Literal["up", "down"]
    comment: str | UnsetType = UNSET
    consent: bool | UnsetType = UNSET


class NewShare(Body):
    """A link to what a conversation shows."""

    audience: Literal["team", "link"] | UnsetType = UNSET
    goes_on: bool | UnsetType = UNSET
    reasoning: bool | UnsetType = UNSET
    tools: bool | UnsetType = UNSET
    expires_at: Annotated[datetime, Meta(tz=True)] | UnsetType | None = UNSET


# As long, and as large, as what comes back whole to every client: JavaScript has no greater whole numbers.
FrameId = Annotated[
    Annotated[str, Meta(max_length=200)] | Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)],
    Meta(description="An id that the client chooses; every response to this frame repeats it."),
]


class Send(Question, tag_field="type", tag="send"):
    """A frame that asks, and follows the answer."""

    conversation: UUID | UnsetType = UNSET
    id: FrameId | UnsetType = UNSET


class Follow(Body, tag_field="type", tag="follow"):
    """A frame that follows an answer, from a position on."""

    answer: UUID
    after: int | str | UnsetType = UNSET
    id: FrameId | UnsetType = UNSET


class Stop(Body, tag_field="type", tag="stop"):
    """A frame that ends an answer."""

    answer: UUID
    id: FrameId | UnsetType = UNSET


class Watch(Body, tag_field="type", tag="watch"):
    """A frame that asks for news of the user's conversations, and for the turns since a moment."""

    since: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET
    id: FrameId | UnsetType = UNSET


Frame = Send | Follow | Stop | Watch


def get_given(value: Any) -> Any:
    """Return a field's value, None for one that was left out."""
    return None if value is UNSET else value
