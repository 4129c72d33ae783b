"""A storyteller that keeps its responses, as OpenAI does in background mode: each goes on though its reader is gone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from chat.core.events import (
    Bookmark,
    Finish,
    Lasting,
    ProviderEvent,
    TextEvent,
    Usage,
    count_positions,
    get_text,
    replace_text,
)
from chat.providers.base import Prompt, ResponseGoneError, Resumption
from tests.support.storyteller import Storyteller


class KeepingStoryteller(Storyteller):
    """One whose responses can be followed from each batch on, and are cancelled where nobody wants them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cancelled: set[str] = set()
        self._kept: dict[str, list[Sequence[ProviderEvent]]] = {}

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        response = f"resp_{len(self._kept)}"
        with self._seam.pass_step("ask"):
            self.requests.append(prompt)
            self._kept[response] = [*self._tell(prompt)]
        async for batch in self._read(response, 0, 0):
            yield batch

    async def resume(self, prompt: Prompt, resumption: Resumption) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        bookmark = resumption.bookmark
        with self._seam.pass_step("follow"):
            if bookmark.id in self.cancelled:
                raise ResponseGoneError("404")
        async for batch in self._read(
            bookmark.id, bookmark.number + 1, sum(map(count_positions, resumption.received_since))
        ):
            yield batch

    async def cancel(self, prompt: Prompt, bookmark: Bookmark) -> Usage | None:
        with self._seam.pass_step("cancel"):
            self.cancelled.add(bookmark.id)
        return None

    async def _read(self, response: str, start: int, had: int) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Yield the batches from `start` on, without the first positions, which their reader `had`."""
        for number, batch in enumerate(self._kept[response][start:], start):
            new = [*_skip_positions(batch, had)]
            had -= min(had, sum(count_positions(event) for event in batch if isinstance(event, Lasting)))
            is_end = any(isinstance(event, Finish) for event in batch)  # after which nothing is left to follow
            with self._seam.pass_step("read"):
                yield new if is_end else [*new, Bookmark(response, number)]
            self._batches += 1
            await self.pause(self._batches)


def _skip_positions(batch: Sequence[ProviderEvent], had: int) -> Iterator[ProviderEvent]:
    """Yield the events of a batch without so many positions at its beginning."""
    for event in batch:
        if not isinstance(event, Lasting):
            yield event
            continue
        cut = min(had, count_positions(event))
        had -= cut
        if isinstance(event, TextEvent) and cut < count_positions(event):
            yield replace_text(event, get_text(event)[cut:])
        elif not cut:
            yield event
