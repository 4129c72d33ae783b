"""The page as a person meets it: ask, watch, stop, retry, reload, leave and come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.chat_page import ask, expect_foot, measure_distance, press_while_composing, read_thread
from tests.provider_server import ProviderServer, Script

CORPUS = sorted((Path(__file__).parent.parent / "corpus").glob("*.md"))


def test_the_question_and_a_sign_of_life_are_there_before_the_first_word(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    ask(page, "Why is the sky <b>blue</b>?")
    expect(page.locator("#thread .question > p")).to_have_text("Why is the sky <b>blue</b>?")
    expect(page.locator("#thread .text")).to_be_visible()
    expect(page.locator(".stop")).to_be_visible()
    expect(page.locator(".send")).to_be_hidden()
    expect(page.locator("#composer textarea")).to_have_value("")
    expect(page).to_have_url(page.url.split("/c/")[0] + "/c/" + page.url.split("/c/")[1])
    provider.release()
    expect_foot(page, "complete")
    expect(page.locator(".send")).to_be_visible()


def test_words_are_shown_while_the_answer_goes_on(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two **three** four", chunk_size=4, gate_after=12)
    ask(page)
    expect(page.locator(".text")).to_contain_text("One two")
    assert "**" not in page.inner_text(".text")
    provider.release()
    expect_foot(page, "complete")
    expect(page.locator(".text strong")).to_have_text("three")


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: str(path.stem))
def test_the_streamed_page_is_the_reloaded_page(page: Page, provider: ProviderServer, path: Path) -> None:
    provider.script = Script(text=path.read_text(), chunk_size=7, delay_between=0.002)
    ask(page)
    expect_foot(page, "complete")
    streamed = read_thread(page)
    page.reload()
    assert read_thread(page) == streamed


def test_a_reload_in_the_middle_goes_on(page: Page, provider: ProviderServer) -> None:
    text = "\n\n".join(f"Paragraph *{number}* with some words." for number in range(30))
    provider.script = Script(text=text, chunk_size=5, delay_between=0.005)
    ask(page)
    expect(page.locator(".text")).to_contain_text("Paragraph 5")
    page.reload()
    page.wait_for_selector("#thread .text")
    expect_foot(page, "complete")
    streamed = read_thread(page)
    page.reload()
    assert read_thread(page) == streamed
    assert page.locator(".text p").count() == 30


def test_two_tabs_show_the_same(page: Page, context: BrowserContext, provider: ProviderServer) -> None:
    provider.script = Script(text="- one\n- two\n- three\n- four\n", chunk_size=3, gate_after=12)
    ask(page)
    expect(page.locator(".text")).to_contain_text("two")
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator(".text")).to_contain_text("one")
    provider.release()
    for tab in (page, other):
        expect_foot(tab, "complete")
    assert page.inner_html(".text") == other.inner_html(".text")


def test_stop_keeps_what_was_said(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, stall_after=8)
    ask(page)
    expect(page.locator(".text")).to_contain_text("One two")
    page.click(".stop")
    expect_foot(page, "stopped")
    expect(page.locator(".foot")).to_contain_text("8 characters kept")
    expect(page.locator(".send")).to_be_visible()


def test_an_interrupted_answer_is_retried_in_its_place(page: Page, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="Half of it is", drop_after=8))
    provider.script = Script(text="All of it.")
    ask(page)
    expect_foot(page, "interrupted")
    expect(page.locator(".foot")).to_contain_text("8 characters kept")
    page.click(".retry")
    expect_foot(page, "complete")
    expect(page.locator(".answer")).to_have_count(1)
    expect(page.locator(".text")).to_have_text("All of it.")
    expect(page.locator(".foot")).to_contain_text("Attempt 2 of 2")


def test_silence_is_said(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    ask(page)
    expect(page.locator(".notice")).to_contain_text("silent", timeout=10_000)
    provider.release()
    expect_foot(page, "complete")
    expect(page.locator(".notice")).to_be_empty()


def test_shift_enter_breaks_the_line_and_enter_alone_sends_nothing(page: Page) -> None:
    page.focus("#composer textarea")
    page.keyboard.press("Enter")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(page.locator("#composer textarea")).to_have_value("one\ntwo")
    expect(page.locator("#thread .turn")).to_have_count(0)


def test_a_question_during_an_answer_stays_in_the_box(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    ask(page)
    expect(page.locator(".stop")).to_be_visible()
    ask(page, "And another one?")
    expect(page.locator("#composer textarea")).to_have_value("And another one?")
    expect(page.locator("#thread .turn")).to_have_count(1)
    page.click(".stop")
    expect_foot(page, "stopped")


def test_hostile_text_runs_nothing_and_loads_nothing(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(
        text='<script>window.hit = 1</script> <img src=x onerror="window.hit = 2"> [a](javascript:window.hit=3)\n\n'
        '<div hx-get="/" hx-trigger="load">x</div> ![i](https://example.org/i.png)\n\n'
        "$\\text{<img src=x onerror=hit>}$\n"
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    ask(page, '<img src=y onerror="window.hit = 4">')
    expect_foot(page, "complete")
    page.reload()
    assert page.evaluate("window.hit") is None
    assert page.locator("#thread img, #thread script, #thread [hx-get]").count() == 0
    assert all(url.startswith(page.url.split("/c/")[0]) for url in asked)


def test_the_view_follows_the_text_unless_the_reader_has_scrolled_up(page: Page, provider: ProviderServer) -> None:
    text = "\n\n".join(f"Paragraph {number}." for number in range(150))
    provider.script = Script(text=text, chunk_size=20, delay_between=0.01, gate_after=1400)
    ask(page)
    expect(page.locator(".text")).to_contain_text("Paragraph 80.")
    page.wait_for_timeout(300)
    assert measure_distance(page) < 60
    page.hover("#scroller")
    page.mouse.wheel(0, -800)
    expect(page.locator("#latest")).to_be_visible()
    page.wait_for_timeout(300)  # a wheel may move in steps
    assert measure_distance(page) > 300
    provider.release()
    expect(page.locator(".foot[data-status=complete]")).to_be_attached(timeout=20_000)
    assert measure_distance(page) > 300


def test_code_is_copied_as_it_was_written(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="```python\nif a < b:\n    print('x')\n```\n")
    ask(page)
    expect_foot(page, "complete")
    page.click(".code .copy")
    expect(page.locator(".code .copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "if a < b:\n    print('x')\n"


def test_an_answer_is_copied_as_markdown(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Some **bold** words")
    ask(page)
    expect_foot(page, "complete")
    page.click("[data-copy-answer]")
    expect(page.locator("[data-copy-answer]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "Some **bold** words"


def test_an_answer_is_pasted_and_read_aloud_with_all_of_its_text_and_nothing_of_the_page(
    page: Page, provider: ProviderServer
) -> None:
    lines = "".join(f"print({number})\n" for number in range(45))
    provider.script = Script(text=f"Fruits:\n\n- red\n  - apple\n- green\n\n```python\n{lines}```\n\nThe end.")
    ask(page)
    expect_foot(page, "complete")
    page.locator(".copies-rich").click()
    expect(page.locator("#announcer")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").split() == [
        *("Fruits:", "red", "apple", "green"),
        *lines.split(),
        *("The", "end."),
    ]
    read = "navigator.clipboard.read().then(([item]) => item.getType('text/html')).then(blob => blob.text())"
    pasted = page.evaluate(read)
    assert "<li>red<ul><li>apple</li></ul></li>" in pasted
    assert "button" not in pasted
    page.evaluate("() => { window.heard = []; speechSynthesis.speak = ({ text }) => heard.push(text); }")
    page.locator(".speaks").click()
    expect(page.locator(".speaks")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("heard") == ["Fruits:", "red", "apple", "green", "The end."]
    provider.script = Script(text="```\nprint(1)\n```")
    page.locator(".retry").click()
    expect(page.locator(".text li")).to_have_count(0)
    page.locator(".speaks").click()
    expect(page.locator("#announcer")).to_have_text("There is nothing to read aloud.")
    expect(page.locator(".speaks")).to_have_attribute("aria-pressed", "false")


def test_states_are_announced_and_words_are_not(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4)
    ask(page)
    expect_foot(page, "complete")
    expect(page.locator("#announcer")).to_contain_text("complete")
    assert "One" not in page.inner_text("#announcer")
    page.locator("#announcer").evaluate("element => element.replaceChildren()")
    page.get_by_role("button", name="Good answer").click()
    expect(page.get_by_role("link", name="Comment on this answer")).to_be_visible()
    expect(page.locator("#announcer")).to_be_empty()
    ask(page, "And why is it red?")
    expect(page.locator("#announcer")).to_contain_text("complete")


def test_two_clicks_on_edit_open_one_editor(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Because.")
    ask(page)
    expect_foot(page, "complete")
    page.goto(f"{page.url}#100%")  # an address that is no whole one stops no script either
    page.reload()
    page.locator("a.edit").evaluate("link => { link.click(); link.click(); }")
    expect(page.locator(".editor textarea")).to_be_focused()
    page.wait_for_timeout(100)
    expect(page.locator(".editor")).to_have_count(1)


def test_what_is_typed_while_a_question_is_sent_is_kept_for_its_user_alone(
    page: Page, provider: ProviderServer
) -> None:
    provider.script = Script(text="Because.")

    def type_on(route: Route) -> None:
        page.keyboard.type(" And red?")
        route.continue_()

    page.route("**/send/", type_on)
    ask(page)
    expect_foot(page, "complete")
    page.reload()
    expect(page.locator("#content")).to_have_value("Why is the sky blue? And red?")
    page.evaluate("sessionStorage.setItem('user', 'another')")
    page.reload()
    expect(page.locator("#content")).to_have_value("")


def test_on_a_mac_option_and_shift_write_letters(page: Page) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'platform', { value: 'MacIntel' })")
    page.reload()
    press = """element => element.dispatchEvent(new KeyboardEvent("keydown",
        { key: "Ł", code: "KeyL", altKey: true, shiftKey: true, bubbles: true, cancelable: true }))"""
    assert page.locator("#content").evaluate(press), "the box takes the letter"
    assert not page.locator("#scroller").evaluate(press), "outside of fields it is a shortcut"


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_in_one_direction_only(page: Page, provider: ProviderServer, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    provider.script = Script(
        text="x" * 300 + "\n\n| " + " | ".join("column" for _ in range(20)) + " |\n|" + "---|" * 20 + "\n"
    )
    ask(page, "y" * 200)
    expect_foot(page, "complete")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('#scroller').scrollWidth") <= width


@pytest.mark.parametrize("fields", [{"isComposing": True}, {"keyCode": 229}], ids=["composing", "safari"])
def test_keys_of_an_input_method_neither_stop_nor_send(
    page: Page, provider: ProviderServer, fields: dict[str, Any]
) -> None:
    provider.script = Script(text="Because of the air.", chunk_size=8, gate_after=8)
    ask(page)
    expect(page.locator(".answer .text")).to_contain_text("Because")
    page.fill("#composer textarea", "にほん")
    press_while_composing(page, "Escape", **fields)
    press_while_composing(page, "Enter", **fields)
    provider.release()
    expect_foot(page, "complete")
    press_while_composing(page, "Enter", **fields)
    expect(page.locator("#composer textarea")).to_have_value("にほん")
    expect(page.locator("#thread .turn")).to_have_count(1)


def test_an_input_method_that_is_real_keeps_its_escape(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Because of the air.", chunk_size=8, gate_after=8)
    ask(page)
    expect(page.locator(".answer .text")).to_contain_text("Because")
    page.focus("#composer textarea")
    method = page.context.new_cdp_session(page)
    method.send("Input.imeSetComposition", {"text": "にほ", "selectionStart": 2, "selectionEnd": 2})
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    expect(page.locator(".stop")).to_be_visible()
    method.send("Input.insertText", {"text": "日本"})
    page.keyboard.press("Escape")
    expect_foot(page, "stopped")


def test_a_rating_moves_nothing_and_leaves_the_keyboard_and_the_later_turns_where_they_are(
    page: Page, provider: ProviderServer
) -> None:
    provider.script = Script(text="Because air scatters it.")
    for question in ("Why is the sky blue?", "And why is it red?"):
        ask(page, question)
        expect(page.locator(".foot[data-status=complete]").last).to_be_visible(timeout=20_000)
        page.wait_for_timeout(100)
    expect(page.locator(".turn")).to_have_count(2)
    first = page.locator(".answer").first
    before = first.locator(".facts").bounding_box()
    first.get_by_role("button", name="Good answer").press("Enter")
    expect(first.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    expect(first.get_by_role("button", name="Good answer")).to_be_focused()
    assert first.locator(".facts").bounding_box() == before
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(first.locator("textarea")).to_be_focused()
    page.keyboard.type("Clear.")
    first.get_by_role("button", name="Save").press("Enter")
    expect(first.get_by_role("link", name="Change your comment on this answer")).to_be_focused()
    expect(page.locator(".turn")).to_have_count(2)
