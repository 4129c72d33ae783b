"""The chain of models that are asked in the place of one that is not available."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import cache

from chat.accounts.model_access import list_allowed_models
from chat.models import ModelFallback, User


def find_chain(model: str) -> list[str]:
    """Return the models that are asked in the place of a `provider:model`, in this order.

    A row of the admin's counts before what CHAT_FALLBACKS says.
    """
    kept = cache.get_or_set("chat.fallbacks", _read_chains) or {}
    chain: list[str] = kept.get(model, settings.CHAT_FALLBACKS.get(model, []))
    return chain


def _read_chains() -> dict[str, list[str]]:
    return dict(ModelFallback.objects.values_list("model", "chain"))


def find_fallbacks(user: int, model: str) -> list[str]:
    """Return the models of a chain that the site offers and that a user may use."""
    chain = find_chain(model)
    if not chain:
        return []
    asker = User.objects.filter(pk=user).first()
    allowed = [] if asker is None else list_allowed_models(asker)
    return [name for name in chain if name in allowed and name != model]
