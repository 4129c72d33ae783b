"""What processes tell each other, and a user's open pages: Stop, an answer that was reaped, a new turn, a title.

Other processes are told by the channel layer, which may lose it: whoever needs to be sure asks the database. A process
without Redis is alone and has no layer.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from channels.layers import BaseChannelLayer, get_channel_layer

from chat.background import detached

log = logging.getLogger(__name__)

GROUP = "chat"

# A layer that does not take a notice in this time is away.
PATIENCE = 2.0

# A page that does not read its notices loses the oldest: after a gap it asks for what it shows.
UNREAD = 100

Notice = dict[str, Any]


class Notices:
    """The notices of one process. `heard` is called for each one that another process told to all runners."""

    def __init__(self, heard: Callable[[Notice], Awaitable[None]]) -> None:
        self._heard = heard
        self._id = secrets.token_hex(8)
        self._pages: dict[int, set[asyncio.Queue[Notice]]] = defaultdict(set)

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process to be told anything, nor to hear from."""
        return get_channel_layer() is None

    async def tell_runners(self, notice: Notice) -> None:
        """Tell every other process."""
        if not self.is_alone:
            await self._send({"notice": notice, "user": None})

    def tell_user(self, user: int, notice: Notice) -> None:
        """Tell the open pages of a user: here now, elsewhere soon."""
        self._show(user, notice)
        if not self.is_alone:
            detached(self._send({"notice": notice, "user": user}))

    @contextmanager
    def read(self, user: int) -> Iterator[asyncio.Queue[Notice]]:
        """What is told to a user from now on."""
        queue: asyncio.Queue[Notice] = asyncio.Queue(UNREAD)
        self._pages[user].add(queue)
        try:
            yield queue
        finally:
            self._pages[user].discard(queue)
            if not self._pages[user]:
                del self._pages[user]

    def _show(self, user: int, notice: Notice) -> None:
        for queue in self._pages.get(user, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(notice)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await _layer().group_send(GROUP, {"type": "notice", "from": self._id, **message})
        except Exception as error:
            log.warning("a notice to the other processes was lost: %s", type(error).__name__)

    async def listen(self) -> None:
        """Hear what other processes tell, for ever; a layer that is away is tried again."""
        while True:
            try:
                layer = _layer()
                channel = await layer.new_channel()
                await layer.group_add(GROUP, channel)
                while True:
                    await self._take(await layer.receive(channel))
            except Exception as error:
                log.warning("notices of other processes are not heard: %s", type(error).__name__)
                with suppress(Exception):
                    await _layer().flush()  # or each attempt would leave a channel behind
                await asyncio.sleep(PATIENCE)

    async def _take(self, message: dict[str, Any]) -> None:
        if message["from"] == self._id:
            return
        if message["user"] is None:
            await self._heard(message["notice"])
        else:
            self._show(message["user"], message["notice"])


def _layer() -> BaseChannelLayer:
    return cast("BaseChannelLayer", get_channel_layer())
