"""The shapes of what the API sends, as `/api/schema/` describes them; tests hold the serializers to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Address = Annotated[str, Meta(extra_json_schema={"format": "uri-reference"})]
Count = Annotated[int, Meta(ge=0)]


class Reply(Struct, kw_only=True):
    """A JSON object with at least these fields: later versions may add more."""


class NewConversationReply(Reply):
    """A conversation that was made."""

    id: Id


class ListedConversation(Reply):
    """A conversation as the list has it, without its messages."""

    id: Id
    title: str
    titled_by: Literal["rule", "model", "user"] | None
    created_at: Moment
    updated_at: Moment
    pinned: bool
    archived: bool
    streaming: bool
    unread: bool
    failed: bool
    leaf: Id | None


class ConversationListReply(Reply):
    """A piece of the list; `next` is the `cursor` of the next one, null at the end."""

    conversations: list[ListedConversation]
    next: str | None


class Accepted(Reply):
    """An answer that is being produced, and where its events are."""

    answer: Id
    events: Address


class Remark(Reply):
    """A remark about the answer that readers should always see with it."""

    code: str
    message: str


class Failure(Reply):
    """Why an answer was interrupted."""

    code: str
    message: str
    retryable: bool


class RatingReply(Reply):
    """The user's rating of an answer."""

    value: Literal["up", "down"]
    comment: str
    consent: bool
    at: Moment


class Usage(Reply):
    """The tokens and searches of all upstream calls that wrote an answer."""

    input_tokens: Count
    output_tokens: Count
    cached_tokens: Count
    reasoning_tokens: Count
    estimated: bool
    written_tokens: Count
    written_hour_tokens: Count
    searches: Count


class Timings(Reply):
    """When an answer was asked for, and how long it took."""

    queued: Moment
    first_token_ms: int | None
    total_ms: int | None


class ToolCall(Reply):
    """A call of a tool: its arguments as the model wrote them, and what readers are told of its result."""

    id: str
    name: str
    arguments: str
    summary: str | None
    ok: bool | None
    milliseconds: int | None


class Step(Reply):
    """A part of an answer, in its order: from `start` to `end` in its `text` or `reasoning`, or the tool call `id`."""

    type: Literal["text", "reasoning", "tool_call"]
    start: Count | UnsetType = UNSET
    end: Count | UnsetType = UNSET
    milliseconds: Count | UnsetType = UNSET
    id: str | UnsetType = UNSET


class Checkpoint(Reply):
    """When a live answer was written down last: what `text` and `position` are as of."""

    at: Moment
    age_ms: Count


class Answer(Reply, tag_field="role", tag="assistant"):
    """An answer of a model."""

    id: Id
    conversation: Id
    parent: Id
    model: str
    asked_model: str
    effort: str | None
    status: Literal["queued", "streaming", "complete", "stopped", "interrupted"]
    text: str
    reasoning: str
    steps: list[Step]
    tool_calls: list[ToolCall]
    finish_reason: str | None
    response_schema: dict[str, Any] | None
    position: Count
    checkpoint: Checkpoint | None
    interruptions: Count
    notices: list[Remark]
    error: Failure | None
    rating: RatingReply | None
    usage: Usage
    timings: Timings


class QuestionReply(Reply, tag_field="role", tag="user"):
    """A question of the user's."""

    id: Id
    conversation: Id
    parent: Id | None
    text: str


class ShareReply(Reply):
    """A link to one branch of a conversation; `url` is null where it leads nowhere."""

    id: Id
    conversation: Id
    url: str | None
    state: Literal["open", "revoked", "expired"]
    audience: Literal["team", "link"]
    goes_on: bool
    reasoning: bool
    tools: bool
    leaf: Id
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None


class Shares(Reply):
    """The links to a conversation, newest first."""

    shares: list[ShareReply]


class ConversationReply(Reply):
    """A conversation with all its messages, the oldest first."""

    id: Id
    title: str
    leaf: Id | None
    messages: list[QuestionReply | Answer]


class Prices(Reply):
    """US dollars for a million tokens."""

    input: float | None
    output: float | None


class Capabilities(Reply):
    """The capabilities of a model."""

    thinking: bool
    tools: bool
    temperature: bool
    schema: bool
    images: bool
    files: bool


class Model(Reply):
    """A model that the user may ask."""

    id: str
    provider: str
    name: str
    context_window: int | None
    longest_output: int | None
    prices: Prices
    efforts: list[str]
    default_effort: str | None
    levels: dict[str, str]
    capabilities: Capabilities
    retires_on: str | None
    successor: str | None


class Models(Reply):
    """The models that the user may ask, the default first."""

    models: list[Model]


class Limit(Reply):
    """One of the user's limits."""

    measure: Literal["requests", "live_answers", "tokens", "cost"]
    limit: float | None
    used: float | None
    held: float | None
    resets_at: Moment | None


class Budget(Reply):
    """A budget that the user draws on."""

    name: str
    measure: str
    period: str
    limit: float | None
    used: float | None
    held: float | None
    resets_at: Moment
    refuses: bool
    shared: bool


class UsageReply(Reply):
    """The user's limits and budgets, and how far they are used."""

    limits: list[Limit]
    budgets: list[Budget]


class SearchHit(Reply):
    """A title or a message that was found; the snippet is HTML, escaped, with the words in `<mark>`."""

    conversation: Id
    title: str
    message: Id | None
    role: Literal["user", "assistant", "title"]
    model: str | None
    status: Literal["queued", "streaming", "complete", "stopped", "interrupted"] | None
    at: Moment
    snippet: str
    url: Address


class SearchReply(Reply):
    """A page of what was found, the best first; `complete` is false while the index is being built."""

    results: list[SearchHit]
    next: str | None
    complete: bool


class Refusal(Reply):
    """Why a request was refused."""

    code: str
    message: str
    retryable: bool
    field: str | UnsetType = UNSET
    answer: Id | UnsetType = UNSET


class FieldProblem(Reply):
    """A problem with a field of the request."""

    detail: str
    pointer: str


class Problem(Reply):
    """The body of every refusal: `error`, and the members of RFC 9457."""

    error: Refusal
    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | UnsetType = field(default=UNSET)
