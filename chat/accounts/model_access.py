"""The models that a user may choose."""

from __future__ import annotations

from chat.accounting.policies import find_groups
from chat.accounts.model_registry import list_offered_models
from chat.models import ModelAccess, User
from chat.site_facts import SiteFact


def _read_restricted() -> dict[str, frozenset[int]]:
    """Return the models that are for some groups only, with the ids of these groups."""
    rows = ModelAccess.objects.prefetch_related("groups")
    return {row.model: frozenset(group.pk for group in row.groups.all()) for row in rows}


_restricted = SiteFact("restricted_models", _read_restricted)


def list_allowed_models(user: User) -> list[str]:
    """Return the site's models that are still served and that the user may use, the default first.

    A model without a row in `ModelAccess` is for everybody, another one for the groups of its row.
    """
    offered = list_offered_models()
    restricted = _restricted.get()
    if restricted.keys().isdisjoint(offered):
        return offered
    groups = find_groups(user.pk)
    return [model for model in offered if model not in restricted or not groups.isdisjoint(restricted[model])]
