"""A site on which each page has something to show, and the addresses of those pages."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import Call, ProviderServer, Script

WIDE = "| " + " | ".join(f"A column with {number}" for number in range(14)) + " |"

# Wider than a page, and more than is shown before the fold is opened.
LINES = f"print(1)  # {'wide ' * 40}\n" + "print(2)\n" * 45

EVERYTHING = f"""\
## A heading

A paragraph with `code`, a [link](https://example.org), and a formula: $x^2$.

1. one
2. two

- [x] done

> A quotation.

{WIDE}
{"|---" * 14}|
{WIDE}

$$\\sum_{{i=0}}^n i = \\frac{{n(n+1)}}{{2}}$$

```python
{LINES}```
"""


def begin_conversation(page: Page, provider: ProviderServer) -> str:
    """Ask what is answered with each kind of block, and what breaks off; return the path of the conversation."""
    call = Call("calculator", '{"expression": "12 * 7"}')
    provider.enqueue(
        Script(text="Let me see.", reasoning="A number is wanted.", tool_calls=[call]),
        Script(text=EVERYTHING),
        Script(text="A half of the whole", chunk_size=6, drop_after=7),
    )
    page.goto("/")
    ask(page, "What can an answer be?")
    expect_foot(page, "complete")
    ask(page, "And one that breaks off?")
    expect_foot(page, "interrupted")
    return page.url.removeprefix(page.url.split("/c/")[0])


def share_conversation(page: Page, path: str) -> str:
    """Make a link to a conversation; return its path."""
    token = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "csrftoken")
    response = page.context.request.post(
        f"/api/conversations/{path[3:]}shares/", data={}, headers={"X-CSRFToken": token}
    )
    assert response.ok, response.text()
    return f"/s/{response.json()['url'].partition('/s/')[2]}"


def begin_queue(page: Page, provider: ProviderServer) -> str:
    """Ask what is not answered before the provider is released, and two questions more; return the path."""
    provider.script = Script(text="One two three.", chunk_size=4, gate_after=4)
    page.goto("/")
    ask(page, "Who waits?")
    expect(page.locator(".text")).to_contain_text("One")
    for number, question in enumerate(("The first that waits", "The second that waits"), 1):
        ask(page, question)
        expect(page.locator("#queue .words")).to_have_count(number)
    return page.url.removeprefix(page.url.split("/c/")[0])


def list_pages(conversation: str, shared: str) -> list[str]:
    """Return the paths of what a user, the staff and an administrator may open."""
    of_a_user = [
        "/",
        conversation,
        f"{conversation}settings/",
        f"{conversation}shares/",
        f"{conversation}menu/",
        f"{conversation}print/",
        shared,
        "/search/?q=answer",
        "/conversations/",
        "/archive/",
        "/account/usage/",
        "/account/shares/",
        "/account/data/",
        "/c/00000000-0000-4000-8000-000000000000/",
    ]
    of_the_staff = ["/staff/", "/staff/ratings/", "/staff/batches/"]
    models = ("message", "user", "providercall", "limit", "modelhealth")
    of_the_admin = [
        "/admin/",
        "/admin/usage/",
        "/admin/usage/calls/",
        *(f"/admin/chat/{name}/" for name in models),
        "/admin/chat/user/add/",
        "/admin/chat/modelaccess/add/",
        "/admin/chat/modelfallback/add/",
    ]
    return [*of_a_user, *of_the_staff, *of_the_admin]
