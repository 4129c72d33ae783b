"""Notices to other processes (Stop, an answer's end, a deletion) and to a user's open pages (a turn, a title).

The channel layer carries them between processes and may lose them: the database is asked where it matters. A process
without Redis is alone and has no layer.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from channels.layers import BaseChannelLayer, get_channel_layer

from chat.broker.failures import describe_failure
from chat.tasks import start_detached

log = logging.getLogger(__name__)

GROUP = "chat"

# Seconds: a layer that does not take a notice in this time is away, and is tried again after as long.
PATIENCE = 2.0

# Notices kept for a page that does not read them; then it loses the oldest, and asks for what it shows.
UNREAD = 100

Notice = dict[str, Any]


class Notices:
    """The notices of one process."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(8)
        self._pages: dict[int, set[asyncio.Queue[Notice]]] = defaultdict(set)
        self._sending = asyncio.Lock()
        self._is_away = False  # the layer, for what is sent
        self._try_at = 0.0

    @property
    def is_alone(self) -> bool:
        """True when there is no other process to exchange notices with."""
        return get_channel_layer() is None

    async def tell_runners(self, notice: Notice) -> None:
        """Send a notice to the runner of every other process."""
        if not self.is_alone:
            await self._send({"notice": notice, "user": None})

    def tell_user(self, user: int, notice: Notice) -> None:
        """Send a notice to the open pages of a user: here now, through other processes soon."""
        self._put(user, notice)
        if not self.is_alone:
            start_detached(self._send({"notice": notice, "user": user}))

    @contextmanager
    def subscribe(self, user: int) -> Iterator[asyncio.Queue[Notice]]:
        """Provide a queue of the notices that are sent to a user from now on."""
        queue: asyncio.Queue[Notice] = asyncio.Queue(UNREAD)
        self._pages[user].add(queue)
        try:
            yield queue
        finally:
            self._pages[user].discard(queue)
            if not self._pages[user]:
                del self._pages[user]

    def _put(self, user: int, notice: Notice) -> None:
        for queue in self._pages.get(user, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(notice)

    async def _send(self, message: dict[str, Any]) -> None:
        """Send to the other processes, one after the other: a notice's own patience begins when its turn has come.

        While the layer is away notices are lost at once: hundreds that waited for it would each wait in vain.
        """
        async with self._sending:
            if time.monotonic() < self._try_at:
                return
            try:
                async with asyncio.timeout(PATIENCE):
                    await _get_layer().group_send(GROUP, {"type": "notice", "from": self._id, **message})
            except Exception as error:
                self._try_at = time.monotonic() + PATIENCE
                if not self._is_away:
                    log.warning("notices to other processes are lost: %s", describe_failure(error))
                self._is_away = True
            else:
                if self._is_away:
                    log.warning("notices to other processes arrive again")
                self._is_away = False

    async def listen(self, obey: Callable[[Notice], Awaitable[None]]) -> None:
        """Receive other processes' notices, for ever.

        Call `obey` for each notice to all runners, and show a user's open pages the others. A layer that is away is
        tried again, and logged once.
        """
        is_away = False
        while True:
            try:
                layer = _get_layer()
                channel = await layer.new_channel()
                await layer.group_add(GROUP, channel)
                if is_away:
                    log.warning("notices of other processes are heard again")
                is_away = False
                while True:
                    await self._deliver(await layer.receive(channel), obey)
            except Exception as error:
                if not is_away:
                    log.warning("notices of other processes are not heard: %s", describe_failure(error))
                is_away = True
                with suppress(Exception):
                    await _get_layer().flush()  # or each attempt would leave a channel behind
                await asyncio.sleep(PATIENCE)

    async def _deliver(self, message: dict[str, Any], obey: Callable[[Notice], Awaitable[None]]) -> None:
        if message["from"] == self._id:
            return
        if message["user"] is None:
            await obey(message["notice"])
        else:
            self._put(message["user"], message["notice"])


def _get_layer() -> BaseChannelLayer:
    return cast("BaseChannelLayer", get_channel_layer())
