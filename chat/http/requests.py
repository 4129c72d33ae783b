"""Requests as the middleware hands them to views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from chat.conversations.turn_ids import make_turn_id
from chat.models import User

F = TypeVar("F", bound=Callable[..., Any])


class HtmxRequest(HttpRequest):
    """A request of a logged-in user, with what htmx says of itself in its headers."""

    htmx: HtmxDetails
    user: User


def confirm_login_later(view: F) -> F:
    """Let the middleware take the user of a view from what this process knows: the view confirms the login itself.

    See `chat.accounts.visitors.find_known_user`.
    """
    view.is_login_confirmed_later = True  # type: ignore[attr-defined]
    return view


async def load_user(request: HttpRequest) -> User:
    """Return the user that the middleware let through."""
    return cast("User", await request.auser())


def read_turn_id(request: HttpRequest) -> UUID:
    """Return the id of the form that was sent; a new one for a form without an id."""
    try:
        return UUID(request.POST.get("turn", ""))
    except ValueError:
        return make_turn_id()
