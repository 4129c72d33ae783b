"""The user of a WebSocket, by the session of the page that opens it."""

from __future__ import annotations

from typing import Any

from channels.auth import AuthMiddleware
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.contrib.auth.models import AnonymousUser

from chat.accounts.visitors import find_user_by_session
from chat.models import User
from chat.observability.circuit import get_circuit
from chat.observability.outages import FAULTS, UnreachableError, classify_outage
from chat.tasks import run_in_thread


class SocketAuthMiddleware(AuthMiddleware):  # type: ignore[misc]  # Channels has no types
    """Finds the user of a socket's session, and leaves the session as it is.

    Channels' own ends a session that was signed with one of SECRET_KEY_FALLBACKS: every open page would be logged out
    by its own socket. A socket cannot renew a session either, because it sets no cookie.

    Where the database does not serve, the scope has the `outage`: the application can tell of it, which a failed
    handshake cannot.
    """

    async def resolve_scope(self, scope: dict[str, Any]) -> None:
        user: User | None = None
        try:
            async with get_circuit().guard():
                user = await run_in_thread(find_user_by_session, scope["session"].session_key or "")
        except (UnreachableError, *FAULTS) as error:
            if (outage := classify_outage(error)) is None:
                raise
            scope["outage"] = outage
        scope["user"] = user or AnonymousUser()


def add_login(application: Any) -> Any:
    """Return the application with `scope["session"]` and `scope["user"]`."""
    return CookieMiddleware(SessionMiddleware(SocketAuthMiddleware(application)))
