"""A form in an encoding that no browser sends is refused as a bad request, not met with a failure."""

from __future__ import annotations

import pytest
from django.test import AsyncClient

from tests.support.site import Site

TOKEN = "c" * 32


@pytest.mark.parametrize("charset", ["utf-16", "zlib", "idna", "rot13", "latin-1", "utf-7"])
@pytest.mark.parametrize("path", ["/send/", "/accounts/login/"])
async def test_an_odd_charset_of_a_form_is_a_bad_request(site: Site, path: str, charset: str) -> None:
    browser = AsyncClient(enforce_csrf_checks=True, raise_request_exception=False)
    await browser.aforce_login(site.user)
    browser.cookies["csrftoken"] = TOKEN
    kind = f"application/x-www-form-urlencoded; charset={charset}"
    response = await browser.generic("POST", path, "content=x", content_type=kind, headers={"x-csrftoken": TOKEN})
    assert response.status_code == 400
    assert b"could not understand" in response.content
