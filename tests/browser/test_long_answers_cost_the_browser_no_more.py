"""A page does no more for a piece of a long answer than of a short one: the last quarter costs as much as the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import CDPSession, Page

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script

BLOCKS = 600
TEXT = "".join(
    f"## Part {number}\n\nSome *words*.\n\n```python\nline = {number}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    for number in range(BLOCKS)
)


@contextmanager
def measure_scripts(page: Page) -> Iterator[CDPSession]:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    yield session
    session.detach()


def read_script_seconds(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(float(metric["value"]) for metric in metrics if metric["name"] == "ScriptDuration")


def wait_for_blocks(page: Page, count: int) -> None:
    while page.locator("#thread .code").count() < count:
        page.wait_for_timeout(100)


def test_the_last_quarter_costs_as_the_first(page: Page, provider: ProviderServer) -> None:
    quarter = BLOCKS // 4
    provider.script = Script(text=TEXT, chunk_size=len(TEXT) // BLOCKS, delay_between=0.015)
    with measure_scripts(page) as session:
        ask(page)
        wait_for_blocks(page, 1)
        start = read_script_seconds(session)
        wait_for_blocks(page, quarter)
        first = read_script_seconds(session) - start
        wait_for_blocks(page, BLOCKS - quarter)
        start = read_script_seconds(session)
        wait_for_blocks(page, BLOCKS)
        last = read_script_seconds(session) - start
    expect_foot(page, "complete")
    assert last < 2.5 * first
