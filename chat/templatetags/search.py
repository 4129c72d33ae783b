"""Template tags for the choices in the dialog of the search, which is part of the chat's pages."""

from __future__ import annotations

from typing import Any

from django import template

from chat.conversations.search import ROLES, STATUSES

register = template.Library()

ROLE_NAMES = dict(zip(ROLES, ("Questions", "Answers", "Titles"), strict=True))


@register.simple_tag
def search_choices() -> dict[str, Any]:
    """Return the choices of the filters."""
    return {"roles": ROLE_NAMES, "statuses": STATUSES}
