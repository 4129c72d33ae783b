"""What a person does on the chat page, and what it shows."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect


def ask(page: Page, question: str = "Why is the sky blue?") -> None:
    page.fill("#composer textarea", question)
    page.keyboard.press("Enter")


def expect_foot(page: Page, status: str) -> None:
    expect(page.locator(f".foot[data-status={status}]").last).to_be_visible(timeout=20_000)


def read_thread(page: Page) -> str:
    """Return the conversation's HTML in the browser, without what htmx and code.js note down for themselves."""
    html: str = page.eval_on_selector(
        "#thread",
        """thread => {
            const copy = thread.cloneNode(true);
            copy.querySelectorAll("[data-htmx-powered]").forEach(e => e.removeAttribute("data-htmx-powered"));
            // The names and stops of blocks that scroll come when they are near the view.
            copy.querySelectorAll("pre, table, math, a").forEach(e =>
                ["tabindex", "role", "aria-label"].forEach(name => e.removeAttribute(name)));
            copy.querySelectorAll(".turn").forEach(e => e.replaceWith(...e.childNodes));
            return copy.innerHTML.replace(/>\\s+</g, "><").trim();
        }""",
    )
    return html


def measure_distance(page: Page) -> float:
    """Return how many pixels lie between what is seen and the end of the conversation."""
    scroller = "const s = document.querySelector('#scroller')"
    found: float = page.evaluate(f"() => {{ {scroller}; return s.scrollHeight - s.scrollTop - s.clientHeight }}")
    return found


def press_while_composing(page: Page, key: str, field: str = "#composer textarea", **fields: Any) -> None:
    """Press a key while an input method composes in a field, as browsers report it."""
    page.eval_on_selector(
        field,
        "(field, fields) => field.dispatchEvent(new KeyboardEvent('keydown', fields))",
        {"key": key, "bubbles": True, "cancelable": True, **fields},
    )
