"""docs/events.md has one table of all codes, with where each can occur."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chat.conversations.exchange.jobs import TooManyJobsError
from chat.core.errors import CODES, RefusedError
from chatsite.asgi import application
from tests.support.server import ROOT

ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| (yes|no) \|", re.MULTILINE)
TABLE = {code: (where, retryable) for code, where, retryable in ROW.findall((ROOT / "docs" / "events.md").read_text())}

# Refusals of pages alone.
OF_PAGES = {TooManyJobsError}


def list_refusals(kind: type[RefusedError] = RefusedError) -> Iterator[type[RefusedError]]:
    for each in kind.__subclasses__():
        yield each
        yield from list_refusals(each)


def find_codes_in_source() -> set[str]:
    """Return the codes of the refusals that are made where they are raised."""
    sources = [path.read_text() for room in ("chat", "chatsite") for path in (ROOT / room).rglob("*.py")]
    made = re.compile(r'(?:ApiError|_RefusedError|write_error_body)\(\s*\d{3}, "(\w+)"')
    return {code for source in sources for code in made.findall(source)}


def test_every_end_of_an_answer_is_in_the_table() -> None:
    of_answers = {code for code, (where, _) in TABLE.items() if where.startswith("an answer")}
    assert of_answers == set(CODES)
    for code, meaning in CODES.items():
        assert (TABLE[code][1] == "yes") == meaning.retryable, code


def test_every_refusal_is_in_the_table_with_its_status() -> None:
    assert callable(application)  # all of the site is loaded
    assert find_codes_in_source() - TABLE.keys() == set()
    for kind in {*list_refusals()} - OF_PAGES:
        if kind.code != "refused" and kind.code in TABLE and kind.status != 422:
            assert str(kind.status) in TABLE[kind.code][0], kind
        assert kind.code == "refused" or kind.code in TABLE, kind


def test_the_table_has_no_code_that_the_site_does_not_use() -> None:
    known = find_codes_in_source() | set(CODES) | {kind.code for kind in list_refusals()}
    assert TABLE.keys() <= known
