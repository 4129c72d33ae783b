"""A partial is named for what it shows, and no two share a name: a search finds one file and those that use it."""

from __future__ import annotations

from collections import Counter

from django.conf import settings


def test_no_two_partials_have_the_same_name() -> None:
    names = Counter(path.name for path in (settings.BASE_DIR / "templates").rglob("_*.html"))
    assert len(names) > 50
    assert [name for name, count in names.items() if count > 1] == []
