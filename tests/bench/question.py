"""What one question costs the site, without a server around it: `python -m tests.bench.question [--page] [--limits]`.

The ASGI application is called in this process, thirty questions at once, each to its one-token answer: one after the
other they cost a third more, because in between the processor's caches have seen other code. CPU is all of the process,
its threads included. A second run counts what the first one did not stop to count: database statements, and hand-overs
to threads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode
from uuid import uuid4

import uvloop

from tests.bench.processes import run_listener
from tests.support import databases
from tests.support.server import ROOT
from tests.support.services import find_free_port

AT_ONCE = 30
WARMING = AT_ONCE


# Limits that nobody reaches, and a chain that nobody needs: what they cost is what is measured.
LIMITS = {
    "CHAT_MODELS": "openai:m,openai:n",
    "CHAT_FALLBACKS": "openai:m=openai:n",
    "CHAT_USER_STREAMS": "100000",
    "CHAT_USER_REQUESTS_PER_MINUTE": "1000000",
    "CHAT_USER_TOKENS_PER_DAY": "1000000000",
    "CHAT_USER_COST_PER_MONTH": "999999",
    "CHAT_PRICES": "openai:m=1/2",
}


def make_environment(database: str, provider: int, *, limits: bool) -> dict[str, str]:
    """Return the environment of a site on this database that asks the bench's provider."""
    return {
        "DJANGO_SETTINGS_MODULE": "chatsite.settings",
        "DATABASE_URL": database,
        "SECRET_KEY": "no secret, and long enough for one " * 2,
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider}/v1",
        "CHAT_MODELS": "openai:m",
        "CHAT_ACCESS_LOG": "0",
        "CHAT_USER_STREAMS": "0",
        "CHAT_USER_REQUESTS_PER_MINUTE": "0",
        **(LIMITS if limits else {}),
    }


def make_visitor(conversations: int, *, limits: bool) -> tuple[str, str, list[str]]:
    """Make a user; return a token, a session and conversations. With `limits`, make sure that the site has a budget."""
    from chat.models import ApiToken, Budget, Conversation, User  # noqa: PLC0415 - after the settings are chosen
    from tests.bench.visitors import make_session  # noqa: PLC0415 - after the settings are chosen

    user = User.objects.create_user(f"{uuid4()}")
    if limits:
        Budget.objects.get_or_create(name="Site", defaults={"scope": "site", "tokens": 10**12, "cost": 10**6})
    made = Conversation.objects.bulk_create([Conversation(user=user) for _ in range(conversations)])
    return ApiToken.issue(user, "bench"), make_session(user), [str(conversation.pk) for conversation in made]


async def request(
    application: Any, path: str, body: bytes = b"", query: str = "", headers: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """Send a request, a POST when there is a body, and return the whole body of the response."""
    given = {"host": "localhost", "content-length": str(len(body)), **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST" if body else "GET",
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    is_over = asyncio.Event()
    received = b""

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is not None:
            return message
        await is_over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal received
        received += message.get("body", b"")

    await application(scope, receive, send)
    is_over.set()
    return received


# What the bench's provider answers after a moment: a page's stream is there before the answer's end, as in life.
QUESTION = json.dumps({"tokens": 1, "rate": 1000, "first": 0.1})


async def ask_as_program(application: Any, token: str, conversation: str) -> None:
    """Ask one question over the API, and read its answer as events to the end."""
    headers = {"authorization": f"Bearer {token}", "accept": "text/event-stream", "content-type": "application/json"}
    path = f"/api/conversations/{conversation}/messages/"
    answer = await request(application, path, json.dumps({"content": QUESTION}).encode(), headers=headers)
    assert b'"type":"done"' in answer, answer


async def ask_as_page(application: Any, session: str, conversation: str) -> None:
    """Ask one question from a page: its form's own response is the stream."""
    csrf = "c" * 32
    headers = {
        "cookie": f"sessionid={session}; csrftoken={csrf}",
        "hx-request": "true",
        "accept": "text/html, text/event-stream",
        "content-type": "application/x-www-form-urlencoded",
    }
    form = {"content": QUESTION, "conversation": conversation, "turn": uuid4(), "csrfmiddlewaretoken": csrf, "waits": 1}
    changes = await request(application, "/send/", urlencode(form).encode(), headers=headers)
    assert b"event: done" in changes, changes


@contextmanager
def count_statements() -> Iterator[Counter[str]]:
    """Yield a count, by kind, of the statements sent to the database and the calls handed over to threads."""
    from tests.support.statements import hear_statements  # noqa: PLC0415 - not before Django's settings

    counted: Counter[str] = Counter()
    submit = ThreadPoolExecutor.submit

    def note(sql: str) -> None:
        counted["statements"] += not sql.startswith("BEGIN")

    def count_and_submit(pool: ThreadPoolExecutor, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        counted["hand-overs"] += 1
        return submit(pool, function, *args, **kwargs)

    with hear_statements(note), patch.object(ThreadPoolExecutor, "submit", count_and_submit):
        yield counted


async def measure(ask: Callable[[Any, str, str], Awaitable[None]], known_as: str, conversations: list[str]) -> None:
    from chat.generation.process import get_runner  # noqa: PLC0415 - after the settings are chosen
    from chatsite.asgi import application, prepare  # noqa: PLC0415

    async def ask_in(asked: list[str]) -> None:
        for start in range(0, len(asked), AT_ONCE):
            await asyncio.gather(*(ask(application, known_as, one) for one in asked[start : start + AT_ONCE]))

    prepare()
    await ask_in(conversations[:WARMING])
    half = len(conversations[WARMING:]) // 2
    cpu = time.process_time()
    await ask_in(conversations[WARMING : WARMING + half])
    cpu = time.process_time() - cpu
    with count_statements() as counted:
        await ask_in(conversations[WARMING + half :])
    print(f"{cpu / half * 1000:.1f} ms of CPU a question")
    for name, count in counted.items():
        print(f"{count / half:.1f} {name}, the supervisor's among them")
    await get_runner().drain(0)


def find_database(directory: Path) -> str:
    """Return the URL of the database that `DATABASE_URL` names, migrated, or of a new SQLite file."""
    if url := os.environ.get("DATABASE_URL"):
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
        return url
    return f"sqlite:///{databases.prepare_database(directory).database}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--page", action="store_true", help="from a page, not over the API")
    parser.add_argument("--limits", action="store_true", help="with every limit of a user, a budget and a chain")
    given = parser.parse_args()
    port = find_free_port()
    with (
        tempfile.TemporaryDirectory() as directory,
        run_listener("-m", "tests.bench.provider", str(port), port=port),
        patch.dict(os.environ, make_environment(find_database(Path(directory)), port, limits=given.limits)),
    ):
        import django  # noqa: PLC0415 - after the settings are chosen

        django.setup()
        token, session, conversations = make_visitor(2 * given.questions + WARMING, limits=given.limits)
        ask, known_as = (ask_as_page, session) if given.page else (ask_as_program, token)
        uvloop.run(measure(ask, known_as, conversations))


if __name__ == "__main__":
    main()
