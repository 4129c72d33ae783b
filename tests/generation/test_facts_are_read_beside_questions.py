"""What a question needs to know of the whole site is read by the sweep: the question itself waits for no such query."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django import Settings

from chat.generation.process import get_runner
from chatsite.settings import CACHES
from tests.support.site import Site
from tests.support.statements import hear_statements
from tests.support.waiting import wait_until

FACTS = ("chat_limit", "chat_budget", "chat_modelaccess", "chat_refusal")


@pytest.fixture(autouse=True)
def site_cache(settings: Settings) -> Iterator[None]:
    settings.CACHES = CACHES
    settings.CHAT_CHECKPOINT = 60  # after the tick under way the supervisor asks for nothing
    cache.clear()
    yield
    cache.clear()


async def read_by_a_question(site: Site) -> set[str]:
    """Ask a question, and return the facts that were read from the database for it."""
    told: list[str] = []
    with hear_statements(told.append):
        await site.ask()
        await wait_until(lambda: get_runner().live_answers == 0)
    return {fact for fact in FACTS if any(f'FROM "{fact}"' in sql for sql in told)}


async def test_after_a_sweep_a_question_reads_none(site: Site) -> None:
    assert await read_by_a_question(site) == set(FACTS), "nothing is kept yet"
    cache.clear()
    await get_runner().supervisor.sweeper.sweep_everything()
    assert await read_by_a_question(site) == set()
