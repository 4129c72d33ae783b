"""Users by a part of their names, so that what is theirs is found by an index where they are few."""

from __future__ import annotations

from chat.models import User

# What more users than these have is in every part of a table: to read it by time finds some of it at once.
MAX_USERS = 20


def find_few_users(part: str) -> list[int] | None:
    """Return the keys of the users with this in their names; None where they are more than a few."""
    found = User.objects.filter(username__icontains=part).order_by("pk").values_list("pk", flat=True)
    keys = list(found[: MAX_USERS + 1])
    return keys if len(keys) <= MAX_USERS else None
