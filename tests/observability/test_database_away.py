"""While the database is away every page and address says so at once, with 503 and a time to come back; what was typed
stays; the log has a line for each request and no traceback; and all of it ends by itself.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import httpx2
import psycopg
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support import databases
from tests.support.server import Server, log_in_demo
from tests.support.services import Postgres
from tests.support.waiting import block_until

PATIENCE = 30.0
SOME_ID = "0b8ff1bd-9b4e-4b5c-8a42-3c6c59a6b3a5"

PAGES = ["/", f"/c/{SOME_ID}/", "/account/usage/", "/staff/", "/admin/", f"/answers/{SOME_ID}/stream/"]
ADDRESSES = [
    ("POST", "/api/conversations/"),
    ("GET", f"/api/conversations/{SOME_ID}/"),
    ("POST", f"/api/conversations/{SOME_ID}/messages/"),
    ("GET", f"/api/answers/{SOME_ID}/events/"),
    ("POST", f"/api/answers/{SOME_ID}/stop/"),
]


class Here(NamedTuple):
    postgres: Postgres
    server: Server
    browser: httpx2.Client
    program: httpx2.Client


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """A site on a PostgreSQL of its own, somebody's browser and somebody's program."""
    tmp_path = tmp_path_factory.mktemp("site")
    with Postgres() as postgres:
        database, token = databases.prepare_database(tmp_path, postgres.url)
        with (
            Server(request.param, database, logs=tmp_path) as server,
            closing(log_in_demo(server)) as browser,
            httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=30) as program,
        ):
            yield Here(postgres, server, browser, program)


def is_told(response: httpx2.Response) -> None:
    assert response.status_code == 503, response.text
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert "cannot reach its database" in response.text


def test_every_address_says_that_the_database_is_away_and_recovers(here: Here) -> None:
    token = here.browser.cookies["csrftoken"]
    before = here.server.log.read_text()
    address = here.server.url.replace("http", "ws") + "/ws/chat/"
    with connect(address, additional_headers={"Authorization": here.program.headers["authorization"]}) as socket:
        here.postgres.stop()
        check_that_all_are_told(here, token, socket)
        here.postgres.start()
        wait_until_it_comes_back(here)
        socket.send(json.dumps({"type": "send", "content": "Hello"}))
        assert json.loads(socket.recv(PATIENCE))["type"] == "start"
    logged = here.server.log.read_text()[len(before) :]
    assert "Traceback" not in logged
    # One line for each of the requests above, and the supervisor's own now and then.
    told = [line for line in logged.splitlines() if "the database does not serve" in line]
    assert len([line for line in told if re.search(r"POST /send/|GET /: ", line)]) == 3
    assert len(logged.splitlines()) < 60, logged


def check_that_all_are_told(here: Here, token: str, socket: ClientConnection) -> None:
    began = time.monotonic()
    form = {"content": "My dear marmalade", "csrfmiddlewaretoken": token}
    login = {"username": "x", "password": "y", "csrfmiddlewaretoken": token}
    # Each of them waits some seconds for a connection, so they wait together.
    with ThreadPoolExecutor(20) as clients:
        pages = [clients.submit(here.browser.get, path) for path in PAGES[:3]]
        calls = [
            clients.submit(here.program.request, method, path, json={"content": "Hello"})
            for method, path in ADDRESSES[:3]
        ]
        of_htmx = clients.submit(here.browser.post, "/send/", data=form, headers={"HX-Request": "true"})
        plain = clients.submit(here.browser.post, "/send/", data=form)
        logging_in = clients.submit(here.browser.post, "/admin/login/", data=login)
    for refused in (*pages, *calls, of_htmx, plain, logging_in):
        is_told(refused.result())
    assert {call.result().json()["error"]["code"] for call in calls} == {"unavailable"}
    assert of_htmx.result().headers["HX-Retarget"] == "#composer-error"
    assert "<" not in of_htmx.result().text
    assert "My dear marmalade" in plain.result().text
    socket.send(json.dumps({"type": "send", "content": "Hello"}))
    frame = json.loads(socket.recv(PATIENCE))
    assert (frame["type"], frame["code"]) == ("error", "unavailable")
    assert frame["retry_after"] >= 1
    assert time.monotonic() - began < 90


def wait_until_it_comes_back(here: Here) -> None:
    block_until(lambda: here.browser.get("/").status_code == 200, PATIENCE, lambda: "the site does not serve again")
    assert here.program.post("/api/conversations/").status_code == 201


REFUSALS = {
    "53100": "not_saved",  # disk full
    "25006": "not_saved",  # read only
    "53300": "unavailable",  # too many connections
    "57P03": "unavailable",  # starting up
    "40P01": "unavailable",  # a deadlock
}


def test_a_database_that_refuses_connections_is_reported_with_its_reason(here: Here) -> None:
    """PostgreSQL's own codes, as it raises them while it is there."""
    conversation = here.program.post("/api/conversations/").json()["id"]
    path = f"/api/conversations/{conversation}/messages/"
    with psycopg.connect(here.server.environment["DATABASE_URL"], autocommit=True) as connection:
        told = {}
        for state in REFUSALS:
            raising = f"BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END"
            connection.execute(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {raising} $$")
            connection.execute(
                "CREATE TRIGGER refusing BEFORE INSERT ON chat_message FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
            refused = here.program.post(path, json={"content": "Hello"})
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            told[state] = refused.json()["error"]["code"]
            connection.execute("DROP FUNCTION refuse() CASCADE")
    assert told == REFUSALS
    assert here.program.post(path, json={"content": "Hello"}).status_code == 200
    assert len(here.program.get(f"/api/conversations/{conversation}/").json()["messages"]) == 2
