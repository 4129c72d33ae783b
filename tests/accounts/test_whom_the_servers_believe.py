"""Started as docs/deploy.md says, a server leaves it to the site whose `X-Forwarded-For` is believed."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from tests.support import databases, server
from tests.support.server import ROOT, Server

WRONG = "byron"
TRIES = 2


def find_documented_command(kind: str) -> tuple[str, ...]:
    """Return the words with which docs/deploy.md starts a server, with a place for its port."""
    [line] = re.findall(rf"^ +\.venv/bin/({kind} .*) chatsite\.asgi:application$", read_page(), re.MULTILINE)
    return tuple(line.replace("8000", "{port}").split())


def read_page() -> str:
    return (ROOT / "docs" / "deploy.md").read_text()


def guess(site: Server, forwarded: str) -> int:
    """Try a wrong password as a new browser, with this header; return the status."""
    with httpx2.Client(base_url=site.url, headers={"x-forwarded-for": forwarded}, trust_env=False) as client:
        page = client.get("/accounts/login/").text
        [token] = re.findall(r'csrfmiddlewaretoken" value="([^"]+)"', page)
        form = {"csrfmiddlewaretoken": token, "username": "ada", "password": WRONG}
        return client.post("/accounts/login/", data=form).status_code


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
@pytest.mark.parametrize(
    ("environment", "forwarded"),
    [
        ({"CHAT_TRUSTED_PROXIES": "none"}, "203.0.113.{}"),
        ({"FORWARDED_ALLOW_IPS": "*"}, "203.0.113.{}, 198.51.100.1"),
    ],
    ids=["a site without proxies", "an address that a proxy has added to"],
)
def test_an_address_that_a_client_makes_up_gives_it_no_further_guess(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, environment: dict[str, str], forwarded: str
) -> None:
    monkeypatch.setitem(server.COMMANDS, kind, find_documented_command(kind))
    database, _ = databases.prepare_database(tmp_path)
    with Server(kind, database, logs=tmp_path, CHAT_LOGIN_TRIES=str(TRIES), **environment) as site:
        statuses = [guess(site, forwarded.format(number)) for number in range(TRIES + 1)]
    assert statuses == [200] * TRIES + [429]
