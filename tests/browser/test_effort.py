"""Effort is chosen beside the model, with the keyboard and on a phone; a model without levels greys the picker out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script

THINKING, PLAIN = "anthropic:claude-sonnet-5-5", "openai:gpt-4o"


@pytest.fixture(scope="module")
def environment(provider: ProviderServer) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": provider.anthropic_url,
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "CHAT_MODELS": f"{THINKING},{PLAIN}",
    }


def test_the_keyboard_alone_chooses_an_effort_and_the_answer_shows_it(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    page.focus("#composer textarea")
    page.keyboard.press("Tab")
    expect(page.locator("#id_model")).to_be_focused()
    page.keyboard.press("Tab")  # what opens the list of the models' facts
    page.keyboard.press("Tab")
    expect(page.locator("#id_effort")).to_be_focused()
    expect(page.locator("#id_effort")).to_have_value("balanced")
    page.keyboard.type("t")
    expect(page.locator("#id_effort")).to_have_value("thorough")
    ask(page)
    expect_foot(page, "complete")
    expect(page.locator(".facts")).to_contain_text("Thorough (max)")
    page.reload()
    expect(page.locator("#id_effort")).to_have_value("thorough")


def test_a_model_without_levels_greys_the_picker_out_and_the_choice_comes_back_with_the_other(page: Page) -> None:
    page.select_option("#id_effort", "fast")
    page.select_option("#id_model", PLAIN)
    expect(page.locator("#id_effort")).to_be_disabled()
    expect(page.locator("#id_effort")).to_contain_text("No effort levels")
    page.select_option("#id_model", THINKING)
    expect(page.locator("#id_effort")).to_be_enabled()
    expect(page.locator("#id_effort")).to_have_value("fast")


@pytest.mark.parametrize("width", [320, 390])
def test_both_pickers_and_the_button_fit_on_a_phone(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [page.locator(f"#composer {name}").bounding_box() for name in ("#id_model", "#id_effort", ".send")]
    assert all(box is not None for box in boxes)
    places = [(box["x"], box["x"] + box["width"]) for box in boxes if box is not None]
    assert places == sorted(places)
    assert all(before[1] <= after[0] for before, after in pairwise(places))
    assert places[-1][1] <= width
    assert min(right - left for left, right in places) > 60
