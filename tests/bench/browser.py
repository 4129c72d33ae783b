"""What a person at a browser sees of the site's speed: `python -m tests.bench.browser`.

A real Chromium before daphne. The page: the bytes of `/` with everything it loads, and when it can be used. The first
word: from the click to the frame that shows it, before a provider that says it at once. A long answer: tasks that keep
the browser busy for more than 50 ms, frames that were due and did not come, and the bytes of the stream beside the HTML
that it left. Headless Chromium paints in software: on a busy machine frames are dropped that no page is to blame for,
so a page that does nothing is counted beside it.
"""

from __future__ import annotations

import argparse
import gzip
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.bench import tables
from tests.bench.__main__ import Site
from tests.bench.processes import describe_machine, load, run_listener
from tests.bench.provider import ENDLESS
from tests.browser.conftest import FLAGS
from tests.support.needs import find_chromium
from tests.support.services import find_free_port

AGAIN = 5

LINE = 100  # milliseconds of a round trip, as on a phone; of a connection that is open
FAST_LINE = {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}

WATCH = """() => {
  window.bench = { long: [], dropped: 0, worst: 0 };
  new PerformanceObserver((list) => bench.long.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: "longtask" });
  let last = performance.now();
  const frame = (now) => {
    const missed = Math.round((now - last) / (1000 / 60)) - 1;
    if (missed > 0) bench.dropped += missed;
    bench.worst = Math.max(bench.worst, now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""

# The frame after the one in which the word was found has been painted.
FIRST_WORD = """() => new Promise((resolve) => {
  let clicked = 0;
  document.querySelector(".send").addEventListener("click", () => { clicked = performance.now(); }, { capture: true });
  const look = () => {
    const parts = [...document.querySelectorAll(".answer .parts")].at(-1);
    if (clicked && parts && parts.textContent.trim()) {
      requestAnimationFrame(() => resolve(performance.now() - clicked));
    } else requestAnimationFrame(look);
  };
  look();
  document.querySelector(".send").click();
})"""

LOADED = """() => {
  const entries = performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:"));
  const [page] = performance.getEntriesByType("navigation");
  const all = [page, ...entries];
  const sum = (name) => all.reduce((total, entry) => total + entry[name], 0);
  const painted = performance.getEntriesByName("first-contentful-paint")[0];
  return { sent: sum("encodedBodySize"), raw: sum("decodedBodySize"), urls: all.map((entry) => entry.name),
           interactive: page.domContentLoadedEventEnd, painted: painted ? painted.startTime : 0 };
}"""

PAINTED = "() => performance.getEntriesByName('first-contentful-paint').length"

SHOWN = """() => {
  const parts = [...document.querySelectorAll(".answer .parts")].at(-1);
  return { html: new TextEncoder().encode(parts.innerHTML).length,
           nodes: document.getElementsByTagName("*").length, ...window.bench };
}"""


@dataclass(frozen=True)
class Long:
    """A long answer."""

    characters: int
    rate: int
    kind: str = ""
    """The kind of one of the provider's endless blocks; when empty, the answer has a little of everything."""

    @property
    def question(self) -> str:
        return write_question(self.characters, self.rate, self.kind)

    @property
    def name(self) -> str:
        return f"{self.characters // 1000} KB{' of ' * bool(self.kind)}{self.kind} at {self.rate} tokens a second"

    @property
    def seconds(self) -> float:
        return self.characters / 4 / self.rate


def choose_chromium() -> str:
    """Return the machine's Chromium, or Playwright's own; the environment's CHROMIUM comes first."""
    try:
        return find_chromium()
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        raise SystemExit(str(missing)) from None


def write_question(characters: int, rate: int, kind: str = "") -> str:
    return json.dumps({"characters": characters, "rate": rate, "first": 0, "of": kind})


def measure_page(context: BrowserContext, again: int) -> list[list[str]]:
    """Measure what `/` weighs and how long it takes, with nothing in the browser's cache."""
    loads: list[dict[str, Any]] = []
    for _ in range(again):
        page = context.new_page()
        client = context.new_cdp_session(page)
        client.send("Network.enable")
        client.send("Network.clearBrowserCache")
        page.goto("/", wait_until="load")
        page.wait_for_function(PAINTED)  # the frame may come after the load
        loads.append(page.evaluate(LOADED))
        page.close()
    first = loads[0]
    packed = sum(len(gzip.compress(context.request.get(url).body())) for url in first["urls"])
    return [
        ["Page weight, unpacked", f"{first['raw'] / 1000:.1f} KB"],
        ["Page weight, with gzip", f"{packed / 1000:.1f} KB"],
        ["Page weight, as it was sent here", f"{first['sent'] / 1000:.1f} KB"],
        ["Requests", str(len(first["urls"]))],
        ["First paint", f"{median(each['painted'] for each in loads):.0f} ms"],
        ["Time to interactive", f"{median(each['interactive'] for each in loads):.0f} ms"],
    ]


def measure_first_word(context: BrowserContext, again: int, line: int = 0) -> list[list[str]]:
    """Measure from the click to the frame with the word; `line` is the round trip of a slower line, in milliseconds."""
    took = []
    for _ in range(again + 1):
        page = context.new_page()
        if line:
            client = context.new_cdp_session(page)
            client.send("Network.enable")
            client.send("Network.emulateNetworkConditions", {**FAST_LINE, "latency": line})
        page.goto("/")
        page.wait_for_load_state("networkidle")  # nobody has typed a question before the page is there
        page.fill("#content", write_question(400, 100))
        took.append(page.evaluate(FIRST_WORD))
        page.wait_for_selector(".foot[data-status=complete]")
        page.close()
    counted = took[1:]
    over = f" over a line of {line} ms" if line else ""
    return [[f"First word{over}, from click to paint", f"{median(counted):.0f} ms (at most {max(counted):.0f})"]]


def measure_long_answer(context: BrowserContext, long: Long) -> list[list[str]]:
    page = context.new_page()
    received = Received(context, page)
    page.goto("/")
    page.evaluate(WATCH)
    page.fill("#content", long.question)
    page.click(".send")
    page.wait_for_selector(".foot[data-status=complete]", timeout=(long.seconds * 3 + 60) * 1000)
    shown = page.evaluate(SHOWN)
    page.close()
    tasks, name = shown["long"], long.name
    allowed = 3 * shown["html"] + 4096 * long.seconds
    return [
        [f"{name}: long tasks", f"{len(tasks)} (longest {max(tasks, default=0):.0f} ms)"],
        [
            f"{name}: frames dropped",
            f"{shown['dropped']} of {long.seconds * 60:.0f} (longest gap {shown['worst']:.0f} ms)",
        ],
        [f"{name}: bytes of the stream", f"{received.bytes / 1000:.0f} KB"],
        [f"{name}: final HTML", f"{shown['html'] / 1000:.0f} KB"],
        [f"{name}: stream beside what is allowed", f"{received.bytes / allowed:.0%}"],
        [f"{name}: DOM nodes", f"{shown['nodes']:,}"],
    ]


def measure_nothing(context: BrowserContext, seconds: float) -> list[list[str]]:
    """Measure how many frames the machine drops while a page does nothing."""
    page = context.new_page()
    page.goto("/")
    page.evaluate(WATCH)
    page.wait_for_timeout(seconds * 1000)
    shown = page.evaluate("() => window.bench")
    page.close()
    return [["Frames dropped by a page that does nothing", f"{shown['dropped']} of {seconds * 60:.0f}"]]


class Received:
    """Counts the bytes of a page's answer stream."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.bytes = 0
        self._streams: set[str] = set()
        client = context.new_cdp_session(page)
        client.on("Network.requestWillBeSent", self._note_request)
        client.on("Network.dataReceived", self._note_data)
        client.send("Network.enable")

    def _note_request(self, event: dict[str, Any]) -> None:
        if "/stream/" in event["request"]["url"] or "/send/" in event["request"]["url"]:
            self._streams.add(event["requestId"])

    def _note_data(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._streams:
            self.bytes += event["dataLength"]


def measure_all(site: Site, longs: list[Long], again: int) -> list[list[str]]:
    visitor = site.make_visitors(1)[0]
    with ExitStack() as stack:
        stack.enter_context(site.serve())
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=choose_chromium(), args=FLAGS)
        stack.callback(browser.close)
        context = browser.new_context(base_url=site.server.url, viewport={"width": 1100, "height": 750})
        context.add_cookies([{"name": "sessionid", "value": visitor.session, "url": site.server.url}])
        rows = measure_page(context, again) + measure_first_word(context, again)
        rows += measure_first_word(context, again, LINE) + measure_nothing(context, again)
        for long in longs:
            rows += measure_long_answer(context, long)
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, default=200_000, help="of the long answer")
    parser.add_argument("--rates", default="200,2000", help="tokens of four characters a second")
    parser.add_argument("--of", default=",".join(ENDLESS), help="single blocks so long, at the last of the rates")
    parser.add_argument("--again", type=int, default=AGAIN, help="how often what takes a moment is measured")
    parser.add_argument("--quick", action="store_true", help="20,000 characters at 2,000 tokens a second")
    parser.add_argument("--write", type=Path, help="put the table into this page of the documentation")
    asked = parser.parse_args()
    if asked.quick:
        asked.characters, asked.rates, asked.of = 20_000, "2000", ""
    longs = [Long(asked.characters, int(rate)) for rate in asked.rates.split(",")]
    longs += [Long(asked.characters, longs[-1].rate, kind) for kind in asked.of.split(",") if kind]
    with ExitStack() as stack:
        port = find_free_port()
        stack.enter_context(run_listener("-m", "tests.bench.provider", str(port), port=port))
        site = stack.enter_context(Site("daphne", "sqlite", "memory", port))
        rows = measure_all(site, longs, asked.again)
    conditions = f"{describe_machine()}. Chromium, headless; daphne, SQLite. Load average at the end: {load()}."
    text = f"{conditions}\n\n{tables.format_table(('In the browser', 'Measured'), rows)}"
    print(text)
    if asked.write:
        tables.write(asked.write, "bench: browser", text)


if __name__ == "__main__":
    main()
