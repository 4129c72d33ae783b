"""The way in, as a person takes it, and with the cookies of someone who took it before."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import BrowserContext

# By name, the cookies of whoever has logged in.
Cookies = dict[str, Any]


def log_in(context: BrowserContext, name: str) -> None:
    """Log the browser profile in, and wait until the site shows itself."""
    page = context.new_page()
    page.goto("/accounts/login/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", f"{name}-password")
    page.click("main button")
    page.wait_for_selector("#composer")
    page.close()


def log_in_once(context: BrowserContext, name: str, cookies: Cookies) -> None:
    """Log in by the cookies that are known; by the form, which takes a second of CPU time, where they are no good."""
    if name in cookies:
        context.add_cookies(cookies[name])
        if context.request.get("/", max_redirects=0).ok:
            return
        context.clear_cookies()
    log_in(context, name)
    cookies[name] = context.cookies()
