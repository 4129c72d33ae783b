"""Two processes behind a real nginx: a page streams over HTTP/2, resumes at either, and outlives one of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.chat_page import ask, expect_foot, read_thread
from tests.browser.login import log_in
from tests.provider_server import ProviderServer, Script
from tests.support import databases
from tests.support.nginx import SERVED_BY, Nginx
from tests.support.server import Server
from tests.support.waiting import block_until

PARAGRAPHS = "\n\n".join(f"Paragraph *{number}* with some words." for number in range(40))


class Deployment:
    """nginx and the processes behind it, on one database."""

    def __init__(self, nginx: Nginx, servers: list[Server]) -> None:
        self.nginx, self.servers = nginx, servers

    def start_what_was_killed(self) -> None:
        """Bring back what a test has killed."""
        for server in self.servers:
            if not server.running:
                server.start()

    def find_by_port(self, port: int) -> Server:
        return next(server for server in self.servers if server.port == port)


@pytest.fixture(scope="module")
def deployment(provider: ProviderServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory: Path = tmp_path_factory.mktemp("deployment")
    environment = {
        "OPENAI_BASE_URL": provider.openai_url,
        "CHAT_MODELS": "openai:gpt-test",
        "CHAT_LEASE": "3",
        "CHAT_FINISH_LOST": "0",  # a test here needs a lost answer that nobody continues
    }
    database, _ = databases.prepare_database(directory)
    servers = [Server("daphne", database, logs=directory, **environment) for _ in range(2)]
    nginx = Nginx(directory, [server.port for server in servers])
    for server in servers:
        server.environment["CSRF_TRUSTED_ORIGINS"] = nginx.url
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        stack.enter_context(nginx)
        yield Deployment(nginx, servers)


@pytest.fixture
def context(browser: Browser, deployment: Deployment) -> Iterator[BrowserContext]:
    """A browser profile that is logged in through nginx."""
    deployment.start_what_was_killed()
    context = browser.new_context(base_url=deployment.nginx.url, ignore_https_errors=True)
    log_in(context, "demo")
    yield context
    context.close()


def list_protocols(page: Page) -> set[str]:
    """Return the protocols that the browser spoke for the page, its files and its requests."""
    script = """() => ["navigation", "resource"].flatMap(type => performance.getEntriesByType(type))
                      .filter(entry => entry.nextHopProtocol).map(entry => entry.nextHopProtocol)"""
    return set(page.evaluate(script))


def test_the_first_word_is_shown_while_the_provider_holds_the_rest_back(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two **three** four", chunk_size=4, gate_after=4)
    ask(page)
    expect(page.locator(".text")).to_have_text("One")
    expect(page.locator(".foot[data-status=complete]")).to_have_count(0)
    provider.release()
    expect_foot(page, "complete")
    expect(page.locator(".text")).to_have_text("One two three four")


def test_the_page_its_files_and_its_stream_come_over_http_2(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two")
    ask(page)
    expect_foot(page, "complete")
    assert list_protocols(page) == {"h2"}


def ask_and_find_producer(page: Page, deployment: Deployment) -> Server:
    """Ask, and return the process that answers, as the head of its response tells it."""
    with page.expect_response(lambda response: response.request.method == "POST") as asked:
        ask(page)
    return deployment.find_by_port(int(asked.value.headers[SERVED_BY.lower()].rpartition(":")[2]))


def stream_of(page: Page) -> str:
    """Return the access log's pattern for the streams of the answer that the page follows."""
    address = page.get_attribute(".wire", "hx-sse:connect") or ""
    return "GET " + address.partition("?")[0]


def test_a_reload_in_the_middle_resumes_at_either_process(
    page: Page, provider: ProviderServer, deployment: Deployment
) -> None:
    """Which process nginx asks depends on what else is open, so the page is reloaded until both were asked."""
    provider.script = Script(text=PARAGRAPHS, chunk_size=5, gate_after=[200, 400, 600])
    ask(page)
    expect(page.locator(".text")).to_contain_text("Paragraph 4")
    stream = stream_of(page)
    both = {server.port for server in deployment.servers}
    for seen in (4, 10, 16):
        expect(page.locator(".text")).to_contain_text(f"Paragraph {seen}")
        for _ in range(10):
            page.context.new_page().goto(page.url)
            page.reload()
            expect(page.locator(".text")).to_contain_text(f"Paragraph {seen}")
            expect(page.locator(".wire")).to_have_count(1)
            if set(deployment.nginx.find_serving_ports(stream)) == both:
                break
        provider.release()
    expect_foot(page, "complete")
    streamed = read_thread(page)
    page.reload()
    assert read_thread(page) == streamed
    assert page.locator(".text p").count() == 40
    assert set(deployment.nginx.find_serving_ports(stream)) == both


def test_a_process_that_is_killed_takes_no_page_with_it_whose_answer_lives_in_the_other(
    page: Page, provider: ProviderServer, deployment: Deployment
) -> None:
    """Tabs follow at both processes; the one that does not produce the answer dies."""
    provider.script = Script(text=PARAGRAPHS, chunk_size=5, delay_between=0.02, gate_after=200)
    producer = ask_and_find_producer(page, deployment)
    expect(page.locator(".text")).to_contain_text("Paragraph 3")
    stream = stream_of(page)
    [bystander] = [server for server in deployment.servers if server is not producer]
    tabs = [page]
    for _ in range(5):
        tabs.append(page.context.new_page())
        # One connection a tab: with a socket beside each stream, all streams may come to the same process.
        tabs[-1].route_web_socket("**/ws/chat/", lambda socket: None)
        tabs[-1].goto(page.url)
        expect(tabs[-1].locator(".text")).to_contain_text("Paragraph 3")
    bystander.kill()
    provider.release()
    for tab in tabs:
        expect_foot(tab, "complete")
        assert tab.locator(".text p").count() == 40
        expect(tab.locator("#connection")).to_be_empty(timeout=10_000)
    assert len({read_thread(tab) for tab in tabs}) == 1
    assert bystander.port in deployment.nginx.find_serving_ports(stream)


def wait_until_kept(page: Page, words: str) -> None:
    """Wait until the database has these words: without Redis, what no checkpoint has dies with its process."""
    answer = (page.get_attribute(".answer", "id") or "").removeprefix("answer-")
    block_until(lambda: words in page.request.get(f"/api/answers/{answer}/").json()["text"])


def test_a_page_whose_answer_died_with_its_process_learns_so_from_the_other(
    page: Page, provider: ProviderServer, deployment: Deployment
) -> None:
    provider.script = Script(text=PARAGRAPHS, chunk_size=5, gate_after=200)
    producer = ask_and_find_producer(page, deployment)
    expect(page.locator(".text")).to_contain_text("Paragraph 3")
    wait_until_kept(page, "Paragraph *3*")
    producer.kill()
    expect_foot(page, "interrupted")
    expect(page.locator(".text")).to_contain_text("Paragraph 3")
    provider.script = Script(text="All of it.")
    page.click(".retry")
    expect_foot(page, "complete")
    expect(page.locator(".text")).to_have_text("All of it.")


def test_eight_tabs_that_stream_do_not_freeze_the_site(
    context: BrowserContext, provider: ProviderServer, deployment: Deployment
) -> None:
    """Over HTTP/1.1 a browser has six connections to a site: six streams, and nothing else moves."""
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    tabs = [context.new_page() for _ in range(8)]
    for tab in tabs:
        tab.goto("/")
        ask(tab)
        expect(tab.locator(".text")).to_have_text("One")
    began = time.monotonic()
    ninth = context.new_page()
    ninth.goto("/", timeout=10_000)
    expect(ninth.locator("#composer")).to_be_visible()
    took = time.monotonic() - began
    for tab in tabs:
        expect(tab.locator(".wire")).to_have_count(1)
    provider.release()
    for tab in tabs:
        expect_foot(tab, "complete")
        expect(tab.locator(".text")).to_have_text("One two three")
    assert took < 10
