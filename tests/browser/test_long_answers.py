"""An answer of many screens: the page follows its end, holds still for a reader, and leaves nothing out."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot, measure_distance, read_thread
from tests.provider_server import ProviderServer, Script

LONG = {
    "paragraphs": "".join(f"## Part {number}\n\nSome *words* about part {number}.\n\n" for number in range(400)),
    "list": "".join(f"{number}. Item {number} of a **long** list\n" for number in range(1, 500)),
    "table": "| Row | Colour |\n|---|---|\n" + "".join(f"| {number} | *blue* |\n" for number in range(500)),
    "code": "```python\n" + "".join(f"line_{number} = 'of a block of code'\n" for number in range(900)) + "```\n",
}

# Where the first block that is wholly in sight stands, and what it says.
IN_SIGHT = """() => {
    const top = document.querySelector("#scroller").getBoundingClientRect().top;
    const blocks = [...document.querySelectorAll(".stretch li, .stretch p")];
    const block = blocks.find((each) => each.checkVisibility({ contentVisibilityAuto: true })
                                        && each.getBoundingClientRect().top > top);
    return [block.textContent, Math.round(block.getBoundingClientRect().top)];
}"""


@pytest.mark.parametrize("kind", LONG)
def test_the_view_follows_the_end_and_a_reload_shows_the_same(page: Page, provider: ProviderServer, kind: str) -> None:
    provider.script = Script(text=LONG[kind], chunk_size=60, delay_between=0.003)
    ask(page)
    for text in ("100", "200", "300"):
        page.wait_for_function(
            "text => document.querySelector('.text')?.textContent.includes(text)", arg=text, timeout=20_000
        )
        page.wait_for_function(
            "() => { const s = document.querySelector('#scroller'); "
            "return s.scrollHeight - s.scrollTop - s.clientHeight < 4 }"
        )
    expect_foot(page, "complete")
    page.wait_for_timeout(300)
    assert measure_distance(page) < 4
    assert page.locator(".stretch").count() > 1
    streamed = read_thread(page)
    page.reload()
    expect(page.locator(".foot")).to_be_in_viewport()
    page.wait_for_timeout(300)
    assert measure_distance(page) < 4
    assert read_thread(page) == streamed


@pytest.mark.parametrize("kind", ["paragraphs", "list"])
def test_the_view_holds_still_for_a_reader(page: Page, provider: ProviderServer, kind: str) -> None:
    text = LONG[kind]
    provider.script = Script(text=text, chunk_size=60, delay_between=0.003, gate_after=len(text) // 2)
    ask(page)
    page.wait_for_function("() => document.querySelectorAll('.stretch').length > 1", timeout=20_000)
    page.wait_for_timeout(1000)
    page.hover("#scroller")
    page.mouse.wheel(0, -3000)
    page.wait_for_timeout(500)
    seen = page.evaluate(IN_SIGHT)
    provider.release()
    expect(page.locator(".foot[data-status=complete]")).to_be_attached(timeout=20_000)
    page.wait_for_timeout(300)
    assert page.evaluate(IN_SIGHT) == seen
    assert measure_distance(page) > 2500


def test_a_block_of_code_is_not_folded_under_its_reader(page: Page, provider: ProviderServer) -> None:
    text = LONG["code"][:10_000] + "\n```\n\nThe end."
    provider.script = Script(text=text, chunk_size=1000, gate_after=len(text) - 4)
    ask(page)
    expect(page.locator(".text")).to_contain_text("The")
    page.hover("#scroller")
    page.mouse.wheel(0, -2000)
    expect(page.locator("#latest")).to_be_visible()
    page.wait_for_timeout(200)
    top = page.evaluate("document.querySelector('#scroller').scrollTop")
    provider.release()
    expect(page.locator(".unfold")).to_have_text("Fold")
    assert page.evaluate("document.querySelector('#scroller').scrollTop") == top
    page.locator(".unfold").click()
    expect(page.locator(".unfold")).to_have_text("All 316 lines")
    page.reload()
    expect(page.locator(".unfold")).to_have_attribute("aria-expanded", "false")


def test_a_block_of_code_of_many_screens_is_copied_whole(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text=f"```\nshort\n```\nAnd:\n\n{LONG['code']}\n```\nlast\n```\n", chunk_size=500)
    ask(page)
    expect_foot(page, "complete")
    long = LONG["code"].removeprefix("```python\n").removesuffix("```\n")
    for number, code in enumerate(["short\n", long, "last\n"]):
        page.locator(".code .copy").nth(number).click()
        expect(page.locator(".code .copy").nth(number)).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == code


def test_text_out_of_sight_is_found_and_printed(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text=LONG["paragraphs"], chunk_size=500)
    ask(page)
    expect_foot(page, "complete")
    page.reload()
    expect(page.locator(".foot")).to_be_in_viewport()
    assert page.evaluate("window.find('about part 7.', false, false, true)")
    assert page.pdf().count(b"/Type /Page\n") > 10
