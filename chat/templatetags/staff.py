"""Template tags for the pages of the staff."""

from __future__ import annotations

from django import template

from chat.accounting.failing_models import FailingModel, find_failing_models
from chat.conversations.turn_ids import make_turn_id
from chat.core.failures import Cause, find_cause
from chat.models import ProviderCall

register = template.Library()


@register.simple_tag(name="failing_models")
def list_failing_models() -> list[FailingModel]:
    """Return the models that are failing now."""
    return find_failing_models()


# Each form has one of its own, by which a double click begins one batch.
register.simple_tag(make_turn_id, name="new_turn")


@register.filter("cause_label")
def describe_cause(call: ProviderCall) -> str:
    """Return what a failed call failed of, in words; for rows from before that was kept, what their code says."""
    return (Cause(call.error_cause) if call.error_cause else find_cause(call.error_code)).label


@register.filter("in_words")
def write_in_words(code: str) -> str:
    """Return an error code as words."""
    return code.replace("_", " ")
