"""Template tags for a conversation."""

from __future__ import annotations

from django import template
from django.conf import settings

from chat.streaming.own_turn import (
    cut_provider,
    get_spending,
    list_parts,
    render_answer,
    render_question,
    write_seconds,
)

register = template.Library()
register.filter("model_name", cut_provider)
register.filter("parts", list_parts)
register.filter("seconds", write_seconds)
register.simple_tag(render_question, name="question_of")
register.simple_tag(render_answer, name="answer_of")
register.simple_tag(list_parts, name="disclosed_parts")
register.simple_tag(get_spending, name="spending_of")


@register.simple_tag
def is_sharing_on() -> bool:
    """Return whether the operator lets users share conversations."""
    return bool(settings.CHAT_SHARING != "off")
