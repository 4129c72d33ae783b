"""The tree of another site's conversation, converted into questions and answers.

Other sites keep one answer as a chain of messages: reasoning, a tool's call, its result, the text. Here such a chain is
one answer; where it forks, each path through it is an attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from chat.conversations.exchange.portable import PortableCall, PortableMessage, UnreadableError, find_end
from chat.core.events import Lasting, Token

NOT_THERE = "(This message is not in the archive.)"

# Answers that fork share their beginnings, which are copied: the maximum of copied messages in one conversation.
MAX_COPIES = 20_000

# Messages of one conversation. The longest real ones have some thousands.
MAX_MESSAGES = 100_000


@dataclass(slots=True)
class Node:
    """A message of another site: a question, or a step of an answer."""

    key: str
    parent: str | None
    role: Literal["user", "assistant"]
    created_at: datetime | None = None
    text: str = ""
    parts: list[Lasting] = field(default_factory=list)
    calls: list[PortableCall] = field(default_factory=list)
    model: str = ""
    status: Literal["complete", "stopped"] = "complete"
    finish_reason: str = ""


class Tree(NamedTuple):
    """The messages of a conversation, and the end of the branch that is shown."""

    messages: list[PortableMessage]
    leaf: int | None


class _Steps(NamedTuple):
    """The steps of an answer so far, the last one first: those of attempts that fork share their beginning."""

    node: Node
    before: _Steps | None
    length: int

    def as_list(self) -> list[Node]:
        steps: list[Node] = []
        rest: _Steps | None = self
        while rest is not None:
            steps.append(rest.node)
            rest = rest.before
        return steps[::-1]


class _Visit(NamedTuple):
    """A node to be visited: the message that it follows, and the steps of the answer that it continues."""

    node: Node
    parent: int | None
    steps: _Steps | None


def assemble_tree(nodes: Sequence[Node], shown: str | None, left_out: Counter[str], begun_at: datetime) -> Tree:
    """Return nodes as questions and answers. `shown` is the node at the end of the branch that is shown.

    A node whose parent is gone begins a tree of its own. Raises `UnreadableError`.
    """
    return _Assembly(nodes, left_out, begun_at).run(shown)


class _Assembly:
    def __init__(self, nodes: Sequence[Node], left_out: Counter[str], begun_at: datetime) -> None:
        if len(nodes) > MAX_MESSAGES:
            raise UnreadableError(f"It has more than {MAX_MESSAGES:,} messages.")
        self._nodes = nodes
        self._left_out = left_out
        self._begun_at = begun_at
        self._copies = len(nodes) + MAX_COPIES
        self._messages: list[PortableMessage] = []
        self._ends: dict[str, int] = {}  # by a node's key: the message that it became part of
        self._by_parent: dict[str | None, list[Node]] = {}

    def run(self, shown: str | None) -> Tree:
        """Return the tree, whose leaf is the end of the branch with the node `shown`."""
        keys = {node.key for node in self._nodes}
        for node in self._nodes:
            self._by_parent.setdefault(node.parent if node.parent in keys else None, []).append(node)
        waiting = [_Visit(node, None, None) for node in reversed(self._by_parent.get(None, []))]
        reached = 0
        while waiting:
            visit = waiting.pop()
            reached += 1
            waiting += reversed(list(self._add_node(visit)))
        if lost := len(self._nodes) - reached:
            self._left_out["message in a circle of messages"] += lost
        return Tree(self._messages, self._find_leaf(shown))

    def _add_node(self, visit: _Visit) -> list[_Visit]:
        """Add a node to the messages, and return the visits of its children."""
        node = visit.node
        children = self._by_parent.pop(node.key, [])
        if node.role == "user":
            number = self._add_question(node, visit.parent)
            if not children:
                self._add_answer([], number)
            return [_Visit(child, number, None) for child in children]
        parent = visit.parent
        if parent is None or not self._messages[parent - 1].is_question:
            missing = Node("", None, "user", node.created_at, text=NOT_THERE)
            parent = self._add_question(missing, parent)
        steps = _Steps(node, visit.steps, visit.steps.length + 1 if visit.steps else 1)
        continuations = [child for child in children if child.role == "assistant"]
        questions = [child for child in children if child.role == "user"]
        visits = [_Visit(child, parent, steps) for child in continuations]
        if questions or not continuations:
            self._copies -= steps.length
            if self._copies < 0:
                raise UnreadableError("Its answers fork too often.")
            answer = self._add_answer(steps.as_list(), parent)
            visits += [_Visit(child, answer, None) for child in questions]
        return visits

    def _add_question(self, node: Node, parent: int | None) -> int:
        if parent is not None and self._messages[parent - 1].is_question:
            parent = self._add_answer([], parent)
        number = len(self._messages) + 1
        created_at = node.created_at or self._make_time_after(parent)
        self._messages.append(PortableMessage(number, parent, "user", created_at, text=node.text))
        if node.key:
            self._ends[node.key] = number
        return number

    def _add_answer(self, steps: list[Node], parent: int) -> int:
        """Add an answer of these steps; without steps, an empty one that was stopped."""
        number = len(self._messages) + 1
        times = [step.created_at for step in steps if step.created_at]
        created_at = times[0] if times else self._make_time_after(parent)
        last = steps[-1] if steps else Node("", None, "assistant", status="stopped")
        self._messages.append(
            PortableMessage(
                number,
                parent,
                "assistant",
                created_at,
                parts=_join_steps(steps),
                status=last.status,
                finish_reason=last.finish_reason,
                model=next((step.model for step in reversed(steps) if step.model), ""),
                finished_at=max(times) if times else None,
                calls=[call for step in steps for call in step.calls],
            )
        )
        self._ends.update((step.key, number) for step in steps)
        return number

    def _make_time_after(self, parent: int | None) -> datetime:
        """Return a time for a message without one: just after the message before it."""
        if parent is None:
            return self._begun_at
        return min(self._messages[parent - 1].created_at + timedelta(microseconds=1), datetime.now(UTC))

    def _find_leaf(self, shown: str | None) -> int | None:
        """Return the end of the branch on which the shown node lies: the one written last."""
        if not self._messages:
            return None
        return find_end(self._ends.get(shown or "") or self._messages[-1].number, self._messages)


def _join_steps(steps: list[Node]) -> list[Lasting]:
    """Return the parts of an answer's steps; two texts in a row are two paragraphs."""
    parts: list[Lasting] = []
    for step in steps:
        if parts and step.parts and isinstance(parts[-1], Token) and isinstance(step.parts[0], Token):
            parts.append(Token("\n\n"))
        parts += step.parts
    return parts
