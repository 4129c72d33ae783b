"""The login page leads back to a page: never to another site, to itself, or to an address that only takes forms."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import AsyncClient

from chat.models import User
from tests.support.site import Site

LOGIN = "/accounts/login/"


@pytest.mark.parametrize(
    ("page", "leads_to"),
    [
        ("/c/", "/c/"),
        ("/search/?q=a", "/search/?q=a"),
        (LOGIN, "/"),
        (f"{LOGIN}?next={LOGIN}", "/"),
        (f"{LOGIN}#top", "/"),
        (f"http://testserver{LOGIN}", "/"),
        ("//evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https:evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("http://[", "/"),
    ],
)
async def test_where_the_login_page_leads_to(user: User, page: str, leads_to: str) -> None:
    """Also somebody who is logged in already, in another tab for example."""
    client = AsyncClient()
    login: Any = await client.post(LOGIN, {"username": "ada", "password": "lovelace", "next": page})
    assert (login.status_code, login.headers["Location"]) == (302, leads_to)
    for repeated in (await client.get(LOGIN, {"next": page}), await client.post(LOGIN, {"next": page})):
        assert (repeated.status_code, repeated.headers["Location"]) == (302, leads_to)


FORMS = [
    "/account/data/export/",
    "/stop/",
    "/alerts/1/dismiss/",
    "/next/1/edit/",
    "/c/00000000-0000-4000-8000-000000000000/change/",
    "/staff/retry/",
    "/admin/usage/saved/",
]


@pytest.mark.parametrize(
    ("referer", "leads_to"),
    [
        ("http://testserver/account/data/?from=a#b", "/account/data/?from=a"),
        ("http://evil.example/account/data/", "/"),
        ("http://[", "/"),
        ("", "/"),
    ],
)
async def test_a_form_sent_after_the_session_ended_leads_back_to_its_page(
    user: User, referer: str, leads_to: str
) -> None:
    """Its own address answers a GET with a 405, which has no page."""
    client = AsyncClient()
    refused: list[Any] = [await client.post(address, {}, headers={"referer": referer}) for address in FORMS]
    assert {response.status_code for response in refused} == {302}
    [address] = {response.headers["Location"] for response in refused}
    assert address.startswith(LOGIN)
    login: Any = await client.post(address, {"username": "ada", "password": "lovelace"})
    assert login.headers["Location"] == leads_to


@pytest.mark.parametrize("path", ["/account/data/export/", "/account/data/import/token/"])
async def test_a_page_at_the_address_of_its_form_leads_on(site: Site, path: str) -> None:
    """A refusal is shown there, and a login that was needed for the next try leads back there."""
    response: Any = await site.client.get(path)
    assert (response.status_code, response.headers["Location"]) == (302, "/account/data/")


async def test_a_second_log_out_leads_to_the_login_page_alone(site: Site) -> None:
    """From another tab: whoever logs in next would be led to an address that only takes forms."""
    for _ in range(2):
        response: Any = await site.client.post("/accounts/logout/", headers={"referer": "http://testserver/c/"})
        assert (response.status_code, response.headers["Location"]) == (302, LOGIN)
