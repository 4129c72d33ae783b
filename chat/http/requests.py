"""Requests as the middleware hands them to views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme
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


def find_page_of_form(request: HttpRequest) -> str:
    """Return the address of the site's page from which a form was sent, "" where the browser does not tell it."""
    page = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure()):
        return ""
    return urlunsplit(("", "", *urlsplit(page)[2:4], ""))


def read_turn_id(request: HttpRequest) -> UUID:
    """Return the id of the form that was sent; a new one for a form without an id."""
    try:
        return UUID(request.POST.get("turn", ""))
    except ValueError:
        return make_turn_id()
