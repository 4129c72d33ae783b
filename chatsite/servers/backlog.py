"""Connections that the system has established and no server has accepted: closing a listening socket resets them."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Iterable

# They are taken within a few rounds of the event loop. One takes 0.5 s where a hundred requests have just come: with
# 0.3 s, 12 of 200 readers behind nginx were reset, and a question was a 502. Sockets that several processes share may
# never be without one. A process lives on for 1.2 s in any case.
PATIENCE = 1.0

# In Linux's `struct tcp_info` of a listening socket: how many connections wait.
_WAITING = slice(24, 28)


async def take_backlog(listeners: Iterable[int]) -> None:
    """Return when no connection waits on the listening sockets with these descriptors, or after `PATIENCE` seconds.

    The server goes on to take connections meanwhile, and has to close the sockets before it awaits anything.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    sockets = [socket.socket(fileno=listener) for listener in listeners]
    try:
        while any(_has_waiting(each) for each in sockets) and loop.time() < end:  # noqa: ASYNC110 - a round
            await asyncio.sleep(0)
    finally:
        for each in sockets:
            each.detach()


def _has_waiting(listener: socket.socket) -> bool:
    """Return whether a connection waits.

    `poll` lets other threads run, for 5 ms each, and connections come meanwhile; so it is asked only where the system
    does not tell otherwise.
    """
    if listener.family in {socket.AF_INET, socket.AF_INET6} and hasattr(socket, "TCP_INFO"):
        return any(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING.stop)[_WAITING])
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
