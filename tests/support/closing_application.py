"""An application that closes each WebSocket with the code in its query, as the site's servers run it."""

from __future__ import annotations

from chatsite.servers import daphne
from chatsite.servers.request_guard import Application, Receive, Scope, Send


async def close(scope: Scope, receive: Receive, send: Send) -> None:
    """Close a WebSocket, once accepted, with the code that its query is; without one, as the server does by itself."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    code = scope["query_string"].decode()
    await send({"type": "websocket.close", **({"code": int(code)} if code else {})})


application: Application = close
if daphne.is_serving():
    application = daphne.add_backpressure(close)
