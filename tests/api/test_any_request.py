"""Whatever a program sends to a route, it gets one of the statuses that the route declares, and never a 5xx.

`make fuzz` asks the same with schemathesis, in greater numbers.
"""

from __future__ import annotations

import json
import random
from typing import Any

from chat.api.operations import Operation
from chat.api.schema import list_routes
from tests.provider_server import ProviderServer, Script
from tests.support.declared import check_declared
from tests.support.site import NDJSON, SSE, Json, Site

BODIES = 12

VALUES: list[Any] = [None, "", "x", "up", 0, -1, 1.5, 10**400, True, [], [[]], {}, {"type": "object"}, "\ud800", "\0"]
VALUES += ["fast", "openai:gpt-test", "2020-01-01T00:00:00Z", "7f8f8a4e-6b0e-4f0a-9c39-0d5a3c0c7a11", "a" * 3000]
RAW = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"content":"a","content":"b"}', b"{}" * 1000, b"[" * 50_000]
ACCEPTS = ["", "*/*", SSE, NDJSON, "application/json", "text/html;q=0.1", "q=;;,", "\x00"]
QUERIES = ["", "?after=1", "?after=-1", "?after=%00", "?limit=0&cursor=%FF", "?q=%00", "?q=x&from=9999-99-99", "?a[]=b"]


def make_body(chance: random.Random, operation: Operation) -> bytes:
    if chance.random() < 0.2:
        return chance.choice(RAW)
    names = [*(operation.body.__struct_fields__ if operation.body else ()), "content", "unknown", "", "\ud800"]
    body: Json = {name: chance.choice(VALUES) for name in chance.sample(names, chance.randint(0, len(names)))}
    return json.dumps(body).encode()


def is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


ROUTES = [(path, method) for path, view in list_routes() for method in view.operations if method != "HEAD"]


async def test_any_request_gets_a_declared_response(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Half", drop_after=3)
    for path, method in ROUTES:
        await try_route(site, path, method)


async def try_route(site: Site, path: str, method: str) -> None:
    answer = await site.ask()
    names = {"conversation_id": answer["conversation"], "answer_id": answer["id"], "share_id": answer["id"]}
    operation, chance = dict(list_routes())[path].operations[method], random.Random(f"{method} {path}")
    for _ in range(BODIES if operation.body else 5):
        address = path.format(**names) + chance.choice(QUERIES)
        headers = {
            "accept": chance.choice(ACCEPTS),
            "if-match": chance.choice(["", "*", '"x"']),
            "prefer": chance.choice(["", "respond-async", '"']),
        }
        headers |= {"last-event-id": chance.choice(["", "1", "x"])} if "events" in path else {}
        body = make_body(chance, operation)
        response: Any = await site.client.generic(
            method, address, body, content_type="application/json", headers=headers
        )
        check_declared(method, address, response)
        assert response.status_code < 500
        if response.status_code == 400 and is_object(body):
            assert "field" in json.loads(response.content)["error"], (method, address, body)
