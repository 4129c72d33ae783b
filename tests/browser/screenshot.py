"""Take the README's screenshot: the embedded demo before a real browser.

python -m tests.browser.screenshot docs/screenshot.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.browser.chat_page import ask
from tests.browser.conftest import FLAGS
from tests.browser.login import log_in
from tests.support.databases import serve_new_site
from tests.support.needs import find_chromium


def take_screenshot(path: Path) -> None:
    """Ask the demo for its tour and keep what the page shows when the answer has ended."""
    with (
        tempfile.TemporaryDirectory() as directory,
        serve_new_site("daphne", Path(directory), CHAT_MODELS="demo:tour") as (server, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        context = browser.new_context(base_url=server.url, viewport={"width": 1100, "height": 720})
        log_in(context, "demo")
        page = context.new_page()
        page.goto("/")
        ask(page, "code: show me how a page follows an answer")
        expect(page.locator(".foot[data-status=complete]")).to_be_visible(timeout=60_000)
        page.wait_for_timeout(500)  # the list of conversations comes last
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    take_screenshot(Path(sys.argv[1]))
