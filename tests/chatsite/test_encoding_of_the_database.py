"""A database that cannot keep every text is refused before its tables are made, and warned of where it has them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core import checks
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from chatsite import apps

pytestmark = [pytest.mark.postgresql, pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def latin(monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseDatabaseWrapper]:
    """Provide a connection to a new database of the encoding LATIN1, in place of the site's."""
    name = f"{connection.settings_dict['NAME']}_latin"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    latin = connection.copy()
    latin.settings_dict |= {"NAME": name, "OPTIONS": {}}
    monkeypatch.setattr(apps, "connection", latin)
    yield latin
    latin.close()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


def list_levels() -> list[int]:
    found = checks.run_checks(tags=[checks.Tags.database], databases=["default"])
    return [message.level for message in found if message.id == "chatsite.E001"]


def test_the_sites_own_is_right() -> None:
    assert list_levels() == []


def test_another_one_is_refused_while_it_is_new(latin: BaseDatabaseWrapper) -> None:
    assert list_levels() == [checks.ERROR]
    MigrationRecorder(latin).ensure_schema()
    assert list_levels() == [checks.WARNING]
