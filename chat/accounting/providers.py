"""The provider in the `provider:model` of a call, and the calls that went to one."""

from __future__ import annotations

from django.db.models import Q
from django.db.models.functions import Left
from django.db.models.lookups import Exact


def split_provider(model: str) -> str:
    """Return the provider of a `provider:model`."""
    return model.partition(":")[0]


def match_model(name: str) -> Q:
    """Return the condition that a row's `model` is this `provider:model`, or one of this provider's; "" is any.

    The beginnings are compared as they are written: to the LIKE of SQLite, `openai` is `OpenAI` too.
    """
    beginning = f"{name}:"
    return Q(model=name) | Q(Exact(Left("model", len(beginning)), beginning)) if name else Q()
