"""What a page asks of its server, counted in the browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, Request, WebSocket


@contextmanager
def count_requests(page: Page, path: str = "") -> Iterator[list[str]]:
    """Yield a list of the addresses that the page asks for in this block, sockets too, if they contain `path`."""
    addresses: list[str] = []

    def note(request: Request | WebSocket) -> None:
        if path in request.url:
            addresses.append(request.url)

    page.on("request", note)
    page.on("websocket", note)
    yield addresses
    page.remove_listener("request", note)
    page.remove_listener("websocket", note)
