"""Static files have their release's version in their address: they are kept for ever, and never mixed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.templatetags.static import static
from django.test import AsyncClient
from pytest_django import Settings

from chatsite import static_files
from chatsite.static_files import find_version, list_files, shorten
from tests.support.server import ROOT

SCRIPT = "chat/page.js"
OTHER = "0123456789ab"


@pytest.fixture
def stranger(settings: Settings) -> AsyncClient:
    settings.SERVESTATIC_USE_FINDERS = True
    return AsyncClient()


async def test_a_file_of_this_release_is_kept_for_ever(stranger: AsyncClient) -> None:
    assert static(SCRIPT) == f"/static/{find_version()}/{SCRIPT}"
    response = await stranger.get(static(SCRIPT), headers={"Accept-Encoding": "gzip, br"})
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(response.content) == shorten(SCRIPT, (ROOT / "static" / SCRIPT).read_bytes())


@pytest.mark.parametrize("name", [SCRIPT, "chat/newsreader.woff2"])
async def test_a_file_comes_as_it_is_where_gzip_is_not_taken_or_wins_nothing(stranger: AsyncClient, name: str) -> None:
    response = await stranger.get(static(name), headers={"Accept-Encoding": "gzip" if "woff2" in name else "identity"})
    assert "Content-Encoding" not in response.headers
    content = b"".join([bytes(chunk) async for chunk in response])  # type: ignore[attr-defined]
    assert content == (ROOT / "static" / name).read_bytes()


async def test_a_page_of_another_release_gets_this_ones_files_and_keeps_none(stranger: AsyncClient) -> None:
    response = await stranger.get(f"/static/{OTHER}/{SCRIPT}", headers={"Accept-Encoding": "gzip"})
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("address", [f"/static/{OTHER}/{SCRIPT}?exact", "/static/{version}/chat/none.js"])
async def test_what_this_release_does_not_have_is_not_found(stranger: AsyncClient, address: str) -> None:
    assert (await stranger.get(address.format(version=find_version()))).status_code == 404


def test_the_version_is_that_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.js"
    monkeypatch.setattr(static_files, "list_files", lambda: {"chat/a.js": file})
    versions = []
    for content in ("one", "two", "one"):
        file.write_text(content)
        versions.append(find_version.__wrapped__())
    assert versions[0] == versions[2] != versions[1]


def test_collected_files_stand_where_their_addresses_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staticfiles_storage, "location", str(tmp_path))
    call_command("collectstatic", interactive=False, verbosity=0)
    assert (tmp_path / find_version() / SCRIPT).read_bytes() == shorten(SCRIPT, (ROOT / "static" / SCRIPT).read_bytes())
    assert not (tmp_path / "chat").exists()


@pytest.mark.parametrize(
    ("name", "content", "sent"),
    [
        ("chat/a.js", "// one\nlet a = 1; // two\n  // three\nb();", "\nlet a = 1; // two\n\nb();"),
        ("chat/a.css", "/* one\n two */\np { color: red } /* three */\n", "\n\np { color: red } /* three */\n"),
        ("chat/a.css", 'p { content: "/*" }\nq { content: "*/" }', 'p { content: "/*" }\nq { content: "*/" }'),
        ("admin/a.js", "// a licence", "// a licence"),
    ],
)
def test_comments_are_removed_and_lines_keep_their_numbers(name: str, content: str, sent: str) -> None:
    assert shorten(name, content.encode()).decode() == sent


def test_no_text_of_a_script_goes_over_several_lines() -> None:
    """A line of it could look like a comment."""
    for name, path in list_files().items():
        if name.startswith("chat/") and name.endswith(".js"):
            assert all(line.count("`") % 2 == 0 for line in path.read_text("utf-8").splitlines()), name


def test_a_developers_site_has_no_versions(settings: Settings) -> None:
    settings.DEBUG = True
    assert static(SCRIPT) == f"/static/{SCRIPT}"
