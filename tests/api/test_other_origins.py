"""Pages of other origins call the API where an operator allows it, with a token and never with a cookie."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from tests.support.site import Site

PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
APP = "https://app.example.org"


async def call(site: Site, method: str, path: str = "/api/models/", **headers: str) -> Any:
    return await site.client.generic(method, path, headers=headers)


def list_cors_headers(response: Any) -> set[str]:
    return {name.lower() for name in response.headers if name.lower().startswith("access-control-")}


async def test_by_default_no_other_origin_may_read(site: Site) -> None:
    for method, headers in (("GET", {}), ("OPTIONS", PREFLIGHT)):
        response = await call(site, method, **{"origin": APP, **headers})
        assert list_cors_headers(response) == set()


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ([APP], APP, APP),
        ([APP, "http://localhost:3000"], "http://localhost:3000", "http://localhost:3000"),
        (["*"], APP, "*"),
        ([APP], "https://app.example.org.evil.example", None),
        ([APP], "http://app.example.org", None),
        ([APP], "null", None),
        ([APP], "", None),
    ],
)
async def test_an_allowed_origin_may_read_the_api(
    site: Site, settings: Settings, origins: list[str], origin: str, allowed: str | None
) -> None:
    settings.CHAT_API_ORIGINS = origins
    headers = {"origin": origin} if origin else {}
    response = await call(site, "GET", **headers)
    assert response.status_code == 200
    assert response.headers.get("Access-Control-Allow-Origin") == allowed
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert ("Origin" in response.headers["Vary"]) == (origins != ["*"])
    preflight = await call(site, "OPTIONS", "/api/conversations/", **headers, **PREFLIGHT)
    assert preflight.status_code == 204
    assert preflight.headers.get("Access-Control-Allow-Origin") == allowed
    if allowed:
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
        assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]


async def test_an_allowed_origin_may_read_refusals_and_no_pages(site: Site, settings: Settings) -> None:
    settings.CHAT_API_ORIGINS = [APP]
    refusal = await call(site, "TRACE", origin=APP)
    assert (refusal.status_code, refusal.headers["Access-Control-Allow-Origin"]) == (405, APP)
    for path in ("/", "/accounts/login/", "/healthz"):
        assert list_cors_headers(await call(site, "GET", path, origin=APP)) == set()
