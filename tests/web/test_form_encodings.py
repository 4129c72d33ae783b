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


def write_part(head: str) -> str:
    return f"--x\r\nContent-Disposition: {head}\r\n\r\n\\ud800\r\n--x--\r\n"


@pytest.mark.parametrize("path", ["/send/", "/admin/login/"])
@pytest.mark.parametrize(
    ("charset", "head"),
    [
        ("raw_unicode_escape", "form-data; name=content"),
        ("utf-7", "form-data; name=username"),
        ("zlib", "form-data; name=username"),
        ("utf-8", "form-data; name=username; a*=x; a*1*=y"),
    ],
)
async def test_a_form_with_files_is_a_bad_request_too(site: Site, path: str, charset: str, head: str) -> None:
    browser = AsyncClient(enforce_csrf_checks=True, raise_request_exception=False)
    await browser.aforce_login(site.user)
    browser.cookies["csrftoken"] = TOKEN
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    response = await browser.generic("POST", path, write_part(head), content_type=kind, headers={"x-csrftoken": TOKEN})
    assert response.status_code == 400
    assert b"could not understand" in response.content


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "nobodys"])
async def test_a_form_with_files_in_utf_8_is_read(site: Site, charset: str) -> None:
    """Whatever UTF-8 is called; an encoding that nobody knows is passed over."""
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    response = await site.client.generic("POST", "/send/", write_part("form-data; name=content"), content_type=kind)
    assert response.status_code == 302
