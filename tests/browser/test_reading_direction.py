"""In a sentence from right to left a command keeps its order, and sides of equations meet at their sign."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script

# Where each character of an element stands.
LEFTS = """element => {
    const text = element.firstChild, range = document.createRange(), lefts = [];
    for (let at = 0; at < text.length; at++) {
        range.setStart(text, at);
        range.setEnd(text, at + 1);
        lefts.push(range.getBoundingClientRect().left);
    }
    return lefts;
}"""


def test_a_command_in_an_arabic_sentence_reads_from_left_to_right(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="شغل `./run.sh -v --all` الآن")
    ask(page)
    expect_foot(page, "complete")
    code = page.locator(".answer .text code")
    expect(code).to_have_text("./run.sh -v --all")
    lefts: list[float] = code.evaluate(LEFTS)
    assert lefts == sorted(lefts)
    words: list[float] = page.locator(".answer .text p").evaluate(LEFTS)  # of the text before the command
    assert min(words) > max(lefts)


def test_a_command_that_begins_an_arabic_sentence_does_not_turn_it(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="`./run.sh` هو الأمر")
    ask(page)
    expect_foot(page, "complete")
    code, sentence = page.locator(".answer .text code").bounding_box(), page.locator(".answer .text p").bounding_box()
    assert code
    assert sentence
    assert code["x"] + code["width"] > sentence["x"] + sentence["width"] - 10


def test_equations_meet_at_their_sign(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text=r"$$\begin{aligned} f &= x + 3 \\ y + 100000 &= d \\ &= e \end{aligned}$$")
    ask(page)
    expect_foot(page, "complete")
    signs = page.locator(".answer .text mo", has_text="=").all()
    assert len(signs) == 3
    lefts = [box["x"] for sign in signs if (box := sign.bounding_box())]
    assert max(lefts) - min(lefts) < 1
    ends = [
        box["x"] + box["width"]
        for cell in page.locator('.answer .text mtd[columnalign="right"] > :last-child').all()
        if (box := cell.bounding_box())
    ]
    assert max(ends) - min(ends) < 1
