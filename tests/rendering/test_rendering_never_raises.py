"""If a renderer raises, the page and a reload show the text as it was written, and the answer ends as it would have."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from html import escape
from typing import Any

import comrak
import pytest
from prometheus_client import REGISTRY

from chat.rendering.document import StreamingMarkdown
from chat.rendering.html import convert_short
from chat.streaming import text_part
from tests.provider_server import ProviderServer, Script
from tests.support.page import Page
from tests.support.partials import PARTIAL
from tests.support.site import Site
from tests.support.waiting import wait_until

TEXT = "# Head <b>\n\nOne *two* three\n\n- four `five`\n- six & seven\n\n```py\nx = 1\n```\nend **of** it."


class PanicException(BaseException):
    """Derives from BaseException, as pyo3's does."""


ERRORS = [ValueError, RecursionError, MemoryError, PanicException]


class Failing:
    """A function that raises at its calls number `calls`, from 0, or at all of them."""

    def __init__(self, function: Callable[..., Any], calls: range, error: type[BaseException]) -> None:
        self._function, self._calls, self._error = function, calls, error
        self.called = 0

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        return lambda *arguments: self(instance, *arguments)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.called += 1
        if self.called - 1 in self._calls:
            raise self._error(TEXT)
        return self._function(*arguments, **options)


def fail(patch: pytest.MonkeyPatch, place: str, calls: range, error: type[BaseException]) -> Failing:
    owner: Any = {"feed": StreamingMarkdown, "finish": StreamingMarkdown, "take_changes": StreamingMarkdown}.get(
        place, text_part
    )
    if place == "render_markdown":
        owner = comrak
        convert_short.cache_clear()
    failing = Failing(getattr(owner, place), calls, error)
    patch.setattr(owner, place, failing)
    return failing


class Browser:
    """An answer on a page: the inside of its one text, or all of it once that was replaced."""

    def __init__(self, answer: str) -> None:
        self._answer = answer
        self.text = Page()

    def read(self, message: str) -> None:
        for target, how, html in PARTIAL.findall(message):
            if target.startswith(f"#part-{self._answer}-0"):
                self.text.swap(target.removeprefix(f"#part-{self._answer}-0").strip(), how, html)
            elif target in (f"#parts-{self._answer}", f"#answer-{self._answer}"):
                self.text = Page(find_text(html, self._answer))


def find_text(html: str, answer: str) -> str:
    """Return the inside of the answer's text in a page."""
    start = html.index(">", html.index(f'id="part-{answer}-0"')) + 1
    depth = 1
    for found in re.finditer(r"<(/?)div\b", html[start:]):
        depth += -1 if found[1] else 1
        if depth == 0:
            return html[start : start + found.start()]
    raise AssertionError(html)


async def reload_page(site: Site, conversation: str, answer: str) -> str:
    response = await site.get(f"/c/{conversation}/")
    assert response.status_code == 200
    return find_text(response.content.decode(), answer)


async def read_stream(site: Site, answer: str) -> tuple[str, str]:
    """Return the HTML that a browser shows in the end, and all that it was sent."""
    browser = Browser(answer)
    response = await site.stream(f"/answers/{answer}/stream/?after=0")
    body = b"".join([chunk async for chunk in response]).decode()
    for message in body.split("\n\n"):
        browser.read("\n".join(line[6:] for line in message.split("\n") if line.startswith("data: ")))
    return browser.text.html, body


def make_plain(text: str) -> str:
    return f'<div class="plain">{escape(text)}</div>'


@pytest.mark.parametrize("error", ERRORS)
async def test_a_text_that_never_renders_is_plain_live_and_after_a_reload(
    site: Site,
    provider: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    provider.script = Script(text=TEXT, chunk_size=5, delay_between=0.01)
    before = REGISTRY.get_sample_value("chat_rendering_failures_total") or 0
    with monkeypatch.context() as patch:
        fail(patch, "render_markdown", range(10**9), error)
        answer = await site.begin()
        shown, body = await read_stream(site, answer)
        assert shown == make_plain(TEXT)
        conversation = (await site.answer(answer))["conversation"]
        assert await reload_page(site, conversation, answer) == make_plain(TEXT)
        assert (await site.answer(answer))["status"] == "complete"
    assert 'data-status="complete"' in body
    assert body.endswith("event: done\ndata: done\n\n")
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert lines
    for line in lines:
        assert answer in line
        assert error.__name__ in line
        assert "\n" not in line
        assert "Head" not in line
    assert not any(record.exc_info for record in caplog.records)
    assert (REGISTRY.get_sample_value("chat_rendering_failures_total") or 0) - before == len(lines)
    assert len(lines) < 20
    assert "<h1>" in await reload_page(site, conversation, answer)  # and when the renderer is mended it is Markdown


@pytest.mark.parametrize("calls", [range(1), range(1, 2), range(5, 6), range(10**9)], ids=repr)
@pytest.mark.parametrize("place", ["feed", "take_changes", "finish", "render_markdown"])
async def test_after_any_failure_the_page_ends_as_a_reload_shows_it(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch, place: str, calls: range
) -> None:
    provider.script = Script(text=TEXT, chunk_size=5, delay_between=0.01)
    with monkeypatch.context() as patch:
        failing = fail(patch, place, calls, PanicException)
        answer = await site.begin()
        shown, body = await read_stream(site, answer)
        assert failing.called > 0
        conversation = (await site.answer(answer))["conversation"]
        assert shown == await reload_page(site, conversation, answer)
    assert body.endswith("event: done\ndata: done\n\n")
    assert (await site.answer(answer))["status"] == "complete"


async def test_a_page_opened_during_the_failure_shows_the_text_and_goes_on(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.script = Script(text=TEXT, chunk_size=5, gate_after=40)
    answer = await site.begin()
    conversation = (await site.answer(answer))["conversation"]

    async def is_written() -> bool:
        return len((await site.answer(answer))["text"]) >= 40

    await wait_until(is_written)
    with monkeypatch.context() as patch:
        fail(patch, "render_markdown", range(10**9), PanicException)
        written = (await site.answer(answer))["text"]
        assert await reload_page(site, conversation, answer) == make_plain(written)
        browser = Browser(answer)
        browser.text = Page(make_plain(written))
        response = await site.stream(f"/answers/{answer}/stream/?after={len(written)}")
        provider.release()
        body = b"".join([chunk async for chunk in response]).decode()
        for message in body.split("\n\n"):
            browser.read("\n".join(line[6:] for line in message.split("\n") if line.startswith("data: ")))
        assert browser.text.html == make_plain(TEXT) == await reload_page(site, conversation, answer)


async def test_pages_and_programs_are_answered(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.script = Script(text=TEXT)
    answer = await site.ask()
    fail(monkeypatch, "render_markdown", range(10**9), PanicException)
    for path in (f"/c/{answer['conversation']}/", f"/api/conversations/{answer['conversation']}/"):
        assert (await site.get(path)).status_code == 200
