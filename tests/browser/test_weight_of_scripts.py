"""No page loads more than 20,000 bytes of the site's own scripts, compressed, before its reader does anything."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.browser.every_page import begin_conversation, begin_queue, list_pages, share_conversation
from tests.provider_server import ProviderServer

MOST = 20_000  # bytes, as they are transferred

SCRIPTS = """() => performance.getEntriesByType("resource").flatMap(file =>
    /\\/chat\\/.*\\.js$/.test(file.name) ? [[new URL(file.name).pathname, file.encodedBodySize]] : [])"""


def weigh_scripts(page: Page, path: str) -> int:
    page.goto(path)
    page.wait_for_load_state("load")
    page.wait_for_timeout(300)  # modules that a page asks for by itself, once it is there
    return sum(dict(page.evaluate(SCRIPTS)).values())


def test_every_page_is_below_the_limit(page: Page, provider: ProviderServer) -> None:
    conversation = begin_conversation(page, provider)
    paths = list_pages(conversation, share_conversation(page, conversation))
    weights = {path: weigh_scripts(page, path) for path in paths}
    weights["a live answer, and questions that wait"] = weigh_scripts(page, begin_queue(page, provider))
    provider.release()
    assert {path: weight for path, weight in weights.items() if weight >= MOST} == {}
    assert weights[conversation] > weights["/"] > MOST / 2, "the scripts are weighed"
