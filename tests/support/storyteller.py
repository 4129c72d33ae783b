"""A provider in this process that tells one story, from wherever its prompt says that it has got to.

However often a story is interrupted and by whatever prompt it is gone on with, its whole text is the same: what the
prompt has of it is left out, and a tool is called until the prompt has its result.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from chat.core.errors import ChatError
from chat.core.events import Finish, ProviderEvent, Token, ToolArguments, ToolCall, Usage
from chat.generation.recovery import NOT_RUN
from chat.providers.adaptations import CONTINUE_INSTRUCTION
from chat.providers.base import Prompt, Turn
from tests.support.crash_seam import CrashSeam

DOTTED_PATH = f"{__name__}.get_teller"
TITLE = "A title"

Story = Sequence[str | tuple[str, ...]]
"""Texts, and between them the names of tools that are called at once."""


class Storyteller:
    """Each request and each batch goes through the seam. `troubles` are raised by the first requests, one each.

    `pause` is awaited after each batch, with how many there have been; `break_after` so many of the first call there is
    no more of it.
    """

    def __init__(
        self, seam: CrashSeam, story: Story, troubles: Sequence[ChatError] = (), break_after: int | None = None
    ) -> None:
        self.requests: list[Prompt] = []
        self.titles = 0
        """How many of the requests were for a title."""
        self.pause: Callable[[int], Awaitable[None]] = _go_on
        self._seam, self._story = seam, story
        self._troubles, self._break_after = list(troubles), break_after
        self._batches = 0
        self._ids = count(1)

    @property
    def text(self) -> str:
        """The whole story, as readers are to have it."""
        return "".join(part for part in self._story if isinstance(part, str))

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        with self._seam.pass_step("ask"):
            self.requests.append(prompt)
        if self._troubles:
            raise self._troubles.pop(0)
        for batch in self._tell(prompt):
            if self._break_after == self._batches:
                self._break_after = None
                raise ChatError("upstream_error", "it broke off")
            with self._seam.pass_step("read"):
                yield batch
            self._batches += 1
            await self.pause(self._batches)

    def _tell(self, prompt: Prompt) -> Iterator[Sequence[ProviderEvent]]:
        turns = _find_turns_of_the_answer(prompt)
        told = len("".join(turn.content for turn in turns if turn.role == "assistant"))
        had = _find_tools_with_results(turns)
        for part in self._story:
            if not isinstance(part, str):
                if missing := [name for name in part if name not in had]:
                    yield from self._call(missing)
                    yield [Finish("tool_calls"), Usage(10, 5)]
                    return
                continue
            text, told = part[told:], max(0, told - len(part))
            yield from ([Token(piece)] for piece in re.findall(r"\s*\S+", text))
        yield [Finish("stop"), Usage(10, 5)]

    def _call(self, names: Sequence[str]) -> Iterator[Sequence[ProviderEvent]]:
        for name in names:
            id_ = f"call_{next(self._ids)}"
            yield [ToolCall(id_, name)]
            yield [ToolArguments(id_, "{}")]

    async def complete(self, prompt: Prompt) -> Sequence[ProviderEvent]:
        with self._seam.pass_step("ask for a title"):
            self.requests.append(prompt)
            self.titles += 1
        return [Token(TITLE), Finish("stop"), Usage(3, 2)]

    async def list_models(self) -> dict[str, Mapping[str, Any]]:
        return {}

    async def aclose(self) -> None:
        pass


def get_teller(teller: Storyteller) -> Storyteller:
    """Return the provider that a pool's configuration names."""
    return teller


def _find_turns_of_the_answer(prompt: Prompt) -> Sequence[Turn]:
    """Return what the prompt has of the answer: what follows the question."""
    asked = [
        index for index, turn in enumerate(prompt.turns) if turn.role == "user" and turn.content != CONTINUE_INSTRUCTION
    ]
    return prompt.turns[asked[-1] + 1 :]


def _find_tools_with_results(turns: Sequence[Turn]) -> set[str]:
    """Return the names of the tools that were run, or about to be: then they are not called again."""
    names = {call.id: call.name for turn in turns for call in turn.calls}
    return {names[turn.call_id] for turn in turns if turn.role == "tool" and turn.content != NOT_RUN}


async def _go_on(batches: int) -> None:
    pass
