"""Facts about the whole site that each question needs, such as its limits: read from the database, kept for seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from django.core.cache import cache

T = TypeVar("T")

_facts: list[SiteFact[object]] = []


class SiteFact(Generic[T]):
    """A fact that the process keeps for the timeout of its cache: an admin's change takes effect within that."""

    def __init__(self, name: str, read: Callable[[], T]) -> None:
        """`read` queries the database. What it returns must not be None, which a cache does not keep."""
        self._key, self._read = f"chat.{name}", read
        _facts.append(self)  # type: ignore[arg-type]

    def get(self) -> T:
        """Return the fact; it queries if nothing is kept."""
        return cache.get_or_set(self._key, self._read)  # type: ignore[return-value]  # to the stubs it may be None

    def refresh(self) -> None:
        """Read the fact now, and keep it from now on."""
        cache.set(self._key, self._read())

    def forget(self) -> None:
        """Have the fact read again when it is next needed: this process has changed it."""
        cache.delete(self._key)


def refresh_facts() -> None:
    """Read all facts before they are forgotten.

    Questions are seconds apart on most sites, and each read the facts again: 1 to 2 of the 12 ms to its first word.
    """
    for fact in _facts:
        fact.refresh()
