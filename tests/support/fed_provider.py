"""A provider in this process that says what a test feeds it, batch by batch, when the test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from chat.core.events import Finish, ProviderEvent, Token, Usage
from chat.providers.base import Prompt

DOTTED_PATH = f"{__name__}.FedProvider"


class FedProvider:
    """One call at a time. Its model may be called anything."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Sequence[ProviderEvent]] = asyncio.Queue()
        self.is_asked = asyncio.Event()
        self.is_closed = asyncio.Event()

    async def feed(self, *batches: Sequence[ProviderEvent]) -> None:
        """Say these batches, and return when the runner has taken all of them."""
        for batch in batches:
            await self._batches.put(batch)
        await self._batches.join()

    async def finish(self, text: str) -> None:
        """Say a text and the end."""
        await self._batches.put([Token(text)])
        await self._batches.put([Finish("stop"), Usage(1, 1)])

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        self.is_asked.set()
        try:
            while True:
                batch = await self._batches.get()
                yield batch
                self._batches.task_done()
                if any(isinstance(event, Finish) for event in batch):
                    return
        finally:
            self.is_closed.set()

    async def complete(self, prompt: Prompt) -> Sequence[ProviderEvent]:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass
