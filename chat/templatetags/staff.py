"""What the staff's templates need."""

from __future__ import annotations

from uuid import UUID

from django import template

from chat import turns

register = template.Library()


@register.simple_tag
def new_turn() -> UUID:
    """The id of one form, by which a double click is one batch."""
    return turns.new_turn()


@register.filter
def in_words(code: str) -> str:
    return code.replace("_", " ")
