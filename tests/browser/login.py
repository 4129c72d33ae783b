"""The way in, as a person takes it."""

from __future__ import annotations

from playwright.sync_api import BrowserContext


def log_in(context: BrowserContext, name: str) -> None:
    """Log the browser profile in, and wait until the site shows itself."""
    page = context.new_page()
    page.goto("/accounts/login/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", f"{name}-password")
    page.click("main button")
    page.wait_for_selector("#composer")
    page.close()
