"""The picker tells models apart, remembers the one that was asked last, and leaves room for Send and Stop."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.chat_page import ask, expect_foot, press_while_composing
from tests.provider_server import ProviderServer, Script

LONG = "openai:a-model-with-a-very-long-name-and-a-version-2026-11-28-preview-instruct"
MODELS = (LONG, "openai:claude-sonnet-5-5", "anthropic:claude-sonnet-5-5", "anthropic:claude-opus-5-5")


@pytest.fixture(scope="module")
def environment(provider: ProviderServer) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": provider.anthropic_url,
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "CHAT_MODELS": ",".join(MODELS),
    }


def assert_inside(button: Locator, width: int) -> None:
    box = button.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["width"] > 50


@pytest.mark.parametrize("width", [320, 360, 390])
def test_a_long_name_leaves_send_and_stop_on_the_screen(page: Page, provider: ProviderServer, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 640})
    page.select_option("#id_model", LONG)
    assert_inside(page.locator(".send"), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    provider.script = Script(text="One two three", gate_after=4)
    ask(page)
    expect(page.locator(".stop")).to_be_visible()
    assert_inside(page.locator(".stop"), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    provider.release()
    expect_foot(page, "complete")


def test_two_models_of_one_name_are_told_apart_open_and_closed(page: Page) -> None:
    groups = page.locator("#id_model optgroup").evaluate_all("all => all.map(group => group.label)")
    assert groups == ["OpenAI", "Anthropic"]
    names = page.locator("#id_model option").evaluate_all("all => all.map(option => option.label)")
    assert names[1:] == ["claude-sonnet-5-5 (OpenAI)", "claude-sonnet-5-5 (Anthropic)", "claude-opus-5-5"]


def test_keys_in_the_field_that_finds_a_model_are_for_its_text_first(page: Page) -> None:
    page.click(".models")
    field = page.get_by_label("Find a model")
    field.fill("opus")
    before = page.input_value("#id_model")
    for key in ("ArrowDown", "Enter"):
        press_while_composing(page, key, "#models input", isComposing=True)
        expect(field).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.type("claude ")
    expect(field).to_have_value("claude opus")
    expect(page.locator("#id_model")).to_have_value(before)
    page.keyboard.press("Enter")
    expect(page.locator("#id_model")).to_have_value(MODELS[3])


def test_what_is_pressed_is_seen_without_the_colours_of_the_page(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="```python\nprint(1)\n```")
    ask(page)
    expect_foot(page, "complete")
    page.emulate_media(forced_colors="active")
    page.get_by_role("button", name="Good answer").click()
    page.get_by_role("button", name="Wrap python code").click()
    page.get_by_role("button", name="Compare the models").click()
    pressed = page.locator("[aria-pressed=true]")
    expect(pressed).to_have_count(3)
    for button in pressed.all():
        expect(button).to_have_css("border-style", "double")
    expect(page.locator("[aria-pressed=false]").first).not_to_have_css("border-style", "double")


def test_a_new_chat_begins_with_the_model_that_was_asked_last(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    for model in (MODELS[3], MODELS[1]):
        page.goto("/")
        page.select_option("#id_model", model)
        ask(page)
        expect_foot(page, "complete")
        page.goto("/")
        expect(page.locator("#id_model")).to_have_value(model)


def test_an_enter_that_is_held_down_chooses_nothing_in_what_it_opens(page: Page) -> None:
    with page.expect_response(re.compile("repeats")):  # its script comes with the first key
        page.locator("#id_model").press("Tab")
    expect(page.locator(".models")).to_be_focused()
    chosen = page.input_value("#id_model")
    page.keyboard.down("Enter")
    expect(page.get_by_label("Find a model")).to_be_focused()
    page.fill("[aria-label='Find a model']", "opus")
    page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    expect(page.get_by_label("Find a model")).to_be_visible()
    assert page.input_value("#id_model") == chosen
    page.keyboard.press("Enter")
    expect(page.get_by_label("Find a model")).to_be_hidden()
