"""Which models a user may choose."""

from __future__ import annotations

from django.conf import settings

from chat.known import Known
from chat.models import ModelAccess, User


@Known
def _restricted() -> frozenset[str]:
    return frozenset(ModelAccess.objects.values_list("model", flat=True))


def models_for(user: User) -> list[str]:
    """The site's models that one of the user's groups may use, or that nobody has restricted; the default first."""
    offered: list[str] = settings.CHAT_MODELS
    restricted = _restricted()
    if restricted.isdisjoint(offered):
        return offered
    granted = set(ModelAccess.objects.filter(groups__user=user).values_list("model", flat=True))
    return [model for model in offered if model not in restricted or model in granted]
