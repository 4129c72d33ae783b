"""What is said is kept by no cache: neither a proxy's nor a browser's, whichever address it came from."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings

from chat.models import User
from tests.provider_server import ProviderServer, Script
from tests.support.server import ROOT
from tests.support.site import NDJSON, SSE, Site

SOME_ID = "0b8ff1bd-9b4e-4b5c-8a42-3c6c59a6b3a5"
VALUES = {"uuid": SOME_ID, "slug": "user", "path": "1", "int": "1", "str": "chat"}


def list_addresses(patterns: Any, before: str = "/") -> list[str]:
    """Return every address of the URL table except Django's admin, with some value for each of its placeholders."""
    found = []
    for entry in patterns:
        route = getattr(entry.pattern, "_route", "")
        if isinstance(entry, URLPattern):
            found.append(before + fill_route(route))
        elif isinstance(entry, URLResolver) and entry.app_name != "admin":
            found += list_addresses(entry.url_patterns, before + fill_route(route))
    return found


def fill_route(route: str) -> str:
    for part in route.split("<")[1:]:
        place = part.partition(">")[0]
        route = route.replace(f"<{place}>", VALUES[place.partition(":")[0]])
    return route


def list_directives(response: Any) -> set[str]:
    return {item.strip() for item in response.headers.get("Cache-Control", "").split(",")}


async def test_no_address_lets_a_cache_keep_what_it_says(site: Site) -> None:
    """Whatever the response: a page, a redirect, a refusal."""
    await User.objects.filter(pk=site.user.pk).aupdate(is_staff=True, is_superuser=True)
    asked = await site.ask()
    paths = [*list_addresses(get_resolver().url_patterns), f"/c/{asked['conversation']}/", "/admin/", "/nowhere/"]
    assert len(paths) > 25
    for path in paths:
        for response in (await site.get(path), await site.post(path)):
            assert {"private", "no-store"} <= list_directives(response), path


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
async def test_a_stream_is_kept_by_nobody_and_changed_by_nobody(
    site: Site, provider: ProviderServer, media_type: str
) -> None:
    provider.script = Script(text="Hello")
    asked = await site.ask()
    response = await site.stream(f"/api/answers/{asked['id']}/events/", accept=media_type)
    assert {"private", "no-store", "no-cache", "no-transform"} <= list_directives(response)
    assert b"Hello" in b"".join([bytes(chunk) async for chunk in response])


async def test_static_files_and_monitors_keep_their_own_headers(site: Site, settings: Settings) -> None:
    settings.SERVESTATIC_USE_FINDERS = True
    for path in ("/static/chat/base.css", "/healthz", "/readyz", "/metrics"):
        response = await site.get(path)
        assert response.status_code == 200
        assert "no-store" not in list_directives(response), path


async def test_a_browser_that_came_by_tls_is_told_to_stay_there(site: Site, settings: Settings) -> None:
    settings.SECURE_HSTS_SECONDS = 86_400
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert (await site.get("/", x_forwarded_proto="https")).headers["Strict-Transport-Security"] == "max-age=86400"
    assert "Strict-Transport-Security" not in (await site.get("/")).headers


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, "0"),
        ({"CSRF_TRUSTED_ORIGINS": "http://chat.example.org"}, "0"),
        ({"CSRF_TRUSTED_ORIGINS": "https://chat.example.org"}, "86400"),
        ({"CSRF_TRUSTED_ORIGINS": "https://chat.example.org", "SECURE_HSTS_SECONDS": "31536000"}, "31536000"),
        ({"CSRF_TRUSTED_ORIGINS": "https://chat.example.org", "SECURE_HSTS_SECONDS": "0"}, "0"),
    ],
)
def test_how_long_follows_from_where_the_site_stands(environment: dict[str, str], seconds: str) -> None:
    program = "import chatsite.settings as s; print(s.SECURE_HSTS_SECONDS)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"SECRET_KEY": "key", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == seconds
