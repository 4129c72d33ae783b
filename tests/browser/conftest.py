"""A real Chromium before a real server: daphne in a process of its own, the tests' provider behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, sync_playwright

from tests.browser.login import Cookies, log_in_once
from tests.browser.relay import Relay, start_relay
from tests.provider_server import ProviderServer
from tests.support.databases import serve_new_site
from tests.support.needs import find_chromium
from tests.support.server import Server

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, or Playwright's own."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer.run_in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """What a module's server gets beside the tests' own settings; a module that needs more overrides this."""
    return {}


@pytest.fixture(scope="module")
def server(
    provider: ProviderServer, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    settings = {
        "OPENAI_BASE_URL": provider.openai_url,
        "CHAT_MODELS": "openai:gpt-test",
        "CHAT_LEASE": "3",
        "CHAT_FINISH_LOST": "0",  # what a page shows of an interrupted answer is tried here
        "CHAT_IDLE_NOTICE": "1",
        **environment,
    }
    directory: Path = tmp_path_factory.mktemp("site")
    with serve_new_site("daphne", directory, **settings) as (server, _):
        yield server


@pytest.fixture(scope="module")
def cookies(server: Server) -> Cookies:
    """The cookies of those who have logged in to the module's server."""
    return {}


@pytest.fixture
def context(browser: Browser, server: Server, cookies: Cookies) -> Iterator[BrowserContext]:
    """A browser profile that is logged in."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1100, "height": 750})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    log_in_once(context, "demo", cookies)
    yield context
    context.close()


def is_missing_file(response: Response) -> bool:
    """Return whether a page, its style sheet or its script asked for a file that does not exist."""
    return response.status == 404 and response.request.resource_type not in ("document", "fetch", "xhr", "eventsource")


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A new chat. An error in the page's script, a refusal by its policy, or a missing file fails the test."""
    errors: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None
    )
    page.on("response", lambda response: errors.append(response.url) if is_missing_file(response) else None)
    page.goto("/")
    yield page
    assert errors == []


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    """A network between the browser and the server; a page that goes to `relay.url` is behind it."""
    with start_relay(server.port) as relay:
        yield relay
