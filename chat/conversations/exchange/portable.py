"""A conversation outside of the database, whichever archive it comes from or goes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from chat.core.events import Lasting, Token, Usage
from chat.core.transcript import join_text

MessageStatus = Literal["queued", "streaming", "complete", "stopped", "interrupted"]


class UnreadableError(Exception):
    """An archive, or one conversation of it, that cannot be read; the text is a sentence for people."""


class Source(NamedTuple):
    """The site and the id of a conversation where it was held first: by these a second import is recognised."""

    site: str
    id: str


@dataclass(slots=True)
class PortableCall:
    """A tool that an answer called, as its model read it."""

    call_id: str
    name: str
    arguments: str
    result: str
    summary: str
    ok: bool
    milliseconds: int
    finished_at: datetime | None


@dataclass(slots=True)
class Figures:
    """The facts about an answer that are outside of its message: its tokens, its interruptions, its reader's rating.

    `interruptions` are those of the server, those of the provider, and the code of the last one.
    """

    usage: Usage | None = None
    interruptions: tuple[int, int, str] = (0, 0, "")
    rating: dict[str, Any] | None = None


@dataclass(slots=True)
class PortableMessage:
    """A question with its text, or an answer with its parts. `number` and `parent` count within the conversation."""

    number: int
    parent: int | None
    role: Literal["user", "assistant"]
    created_at: datetime
    text: str = ""
    """Of a question; that of an answer is in its parts."""
    parts: Sequence[Lasting] = ()
    status: MessageStatus = "complete"
    error_code: str = ""
    finish_reason: str = ""
    model: str = ""
    asked_model: str = ""
    effort: str = ""
    omitted: int = 0
    response_schema: dict[str, Any] | None = None
    first_token_at: datetime | None = None
    finished_at: datetime | None = None
    calls: list[PortableCall] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)

    @property
    def is_question(self) -> bool:
        return self.role == "user"

    @property
    def answer_text(self) -> str:
        """The text of an answer."""
        return join_text(self.parts, Token)


@dataclass(slots=True)
class PortableConversation:
    """A tree of messages with its settings.

    `leaf` is the end of the branch that is shown, where the archive says it.
    """

    source: Source
    title: str
    created_at: datetime
    updated_at: datetime
    messages: list[PortableMessage]
    leaf: int | None = None
    system_prompt: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    effort: str = ""
    titled_by: str = ""
    pinned_at: datetime | None = None
    archived_at: datetime | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    """Descriptions of what the archive has and the site does not import, and how often."""

    def find_shown_end(self) -> int | None:
        """Return the end of the branch that is shown: the `leaf`, else of the one written last; None of no message."""
        if self.leaf is not None or not self.messages:
            return self.leaf
        written = sorted(self.messages, key=lambda message: message.created_at)
        return find_end(written[-1].number, written)

    def list_branch(self) -> list[PortableMessage]:
        """Return the messages of the branch that is shown, from the first one."""
        by_number = {message.number: message for message in self.messages}
        branch: list[PortableMessage] = []
        number = self.find_shown_end()
        while number is not None and number in by_number:
            branch.append(by_number.pop(number))
            number = branch[-1].parent
        return branch[::-1]


def find_end(number: int, written: Iterable[PortableMessage]) -> int:
    """Return the end of the branch on which a message lies; where it parts, of the one `written` last."""
    followed = {message.parent: message.number for message in written}
    while number in followed:
        number = followed[number]
    return number


def check_tree(messages: Iterable[PortableMessage]) -> None:
    """Raise `UnreadableError` unless each message follows one of the same tree, and each answer a question."""
    roles: dict[int, str] = {}
    children: dict[int | None, list[int]] = {}
    for message in messages:
        if message.number in roles:
            raise UnreadableError(f"Two messages have the id {message.number}.")
        roles[message.number] = message.role
        children.setdefault(message.parent, []).append(message.number)
        if not message.is_question and message.parent is None:
            raise UnreadableError(f"The answer {message.number} has no question.")
    reached = 0
    waiting: list[int | None] = [None]
    while waiting:
        parent = waiting.pop()
        for number in children.get(parent, ()):
            if roles[number] == "assistant" and parent is not None and roles[parent] != "user":
                raise UnreadableError(f"The answer {number} does not follow a question.")
            reached += 1
            waiting.append(number)
    if reached < len(roles):
        raise UnreadableError("A message follows one that is missing, or messages follow each other in a circle.")
