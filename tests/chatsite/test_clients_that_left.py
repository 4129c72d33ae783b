"""A client that left is no fault: what was to be sent to it is thrown away, and the log has no traceback."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from chatsite.servers.request_guard import Guard


async def receive() -> dict[str, Any]:
    return {"type": "websocket.connect"}


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "websocket.send", "text": "Hello"})


@pytest.mark.parametrize(
    "error",
    [OSError("Connection lost"), RuntimeError("unable to perform operation on <UVPoll>; the handler is closed")],
    ids=["uvicorn", "daphne"],
)
async def test_a_response_to_a_client_that_left_is_no_fault(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def send(message: dict[str, Any]) -> None:
        raise error

    with caplog.at_level(logging.INFO):
        await Guard(answer)({"type": "websocket", "path": "/ws/chat/", "headers": []}, receive, send)
    assert caplog.records == []


async def test_any_other_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            raise RuntimeError("Unexpected ASGI message")

    await Guard(answer)({"type": "websocket", "path": "/ws/chat/", "headers": []}, receive, send)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
