"""The requests of docs/examples.md get the responses that stand beside them, and no route is without one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.urls import resolve

from chat.api.schema import list_routes
from tests.provider_server import ProviderServer, Script
from tests.support.declared import check_declared
from tests.support.server import ROOT
from tests.support.site import NDJSON, SSE, Site

DOCUMENT = ROOT / "docs" / "examples.md"
ANY = "…"


class Example(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: str
    status: int
    response_headers: dict[str, str]
    response: str


def read_examples() -> Iterator[Example]:
    for block in re.findall(r"```http\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        request, status, response = re.split(r"^(\d{3})$", block, flags=re.MULTILINE)
        head, _, body = request.strip().partition("\n\n")
        line, *headers = head.split("\n")
        method, path = line.split(" ", 1)
        told, _, content = response.removeprefix("\n").partition("\n\n")
        if response.startswith("\n\n"):  # no headers
            told, content = "", response
        yield Example(method, path, read_headers(headers), body, int(status), read_headers(told.split("\n")), content)


def read_headers(lines: list[str]) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines if line)


class Names(dict[str, str]):
    """What the placeholders stand for, from where each of them came first."""

    def fill(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: self.get(found[1], found[0]), text)

    def match(self, expected: Any, found: Any) -> bool:
        """Return whether a value is the one that is written; a name without a value takes it."""
        if isinstance(expected, str):
            return expected == ANY or (isinstance(found, str) and self._match_text(expected, found))
        if isinstance(expected, dict) and isinstance(found, dict):
            named = {key: value for key, value in expected.items() if key != ANY}
            has_more = ANY in expected
            return (named.keys() <= found.keys() if has_more else named.keys() == found.keys()) and all(
                self.match(value, found[key]) for key, value in named.items()
            )
        if isinstance(expected, list) and isinstance(found, list):
            return len(expected) == len(found) and all(map(self.match, expected, found))
        return bool(expected == found)

    def _match_text(self, expected: str, found: str) -> bool:
        names = re.findall(r"\{(\w+)\}", self.fill(expected))
        pattern = re.escape(self.fill(expected))
        for name in names:
            pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>.+?)", 1)
        match = re.fullmatch(pattern, found) if names else None
        self.update(match.groupdict() if match else {})
        return bool(match) or self.fill(expected) == found


def read_content(media_type: str, text: str) -> list[Any]:
    """Return the JSON values of a body: of each line of NDJSON, and of each message of SSE with its position."""
    if media_type == NDJSON:
        return [json.loads(line) for line in text.split("\n") if line]
    if media_type == SSE:
        messages = re.findall(r"id: (\d+)\ndata: (.*)", text)
        return [{"id": position, **json.loads(data)} for position, data in messages]
    return [json.loads(text)]


async def send(site: Site, example: Example, path: str) -> Any:
    media_type = example.headers.get("Content-Type", "application/json")
    headers = {name: value for name, value in example.headers.items() if name != "Content-Type"}
    return await site.client.generic(
        example.method, path, example.body.encode(), content_type=media_type, headers=headers
    )


async def read_text(response: Any) -> str:
    content = b"".join([chunk async for chunk in response]) if response.streaming else response.content
    return str(content.decode())


async def test_every_example_is_answered_as_it_stands_there(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Because of the air.", chunk_size=100)
    names, tried = Names(), set()
    for example in read_examples():
        filled = example._replace(headers={name: names.fill(value) for name, value in example.headers.items()})
        path = names.fill(example.path)
        response = await send(site, filled, path)
        text = await read_text(response)
        assert response.status_code == example.status, (example.method, path, text)
        for name, value in example.response_headers.items():
            assert names.match(value, response.headers[name]), (example.method, path, name, response.headers[name])
        if example.response.strip():
            media_type = response.headers["Content-Type"]
            expected, found = read_content(media_type, example.response), read_content(media_type, text)
            assert names.match(expected, found), (example.method, path, found)
        check_declared(example.method, path, response)
        tried.add((example.method, resolve(path.partition("?")[0]).view_name))
        if example.status == 202:
            await site.read_events(json.loads(text)["answer"])
    assert tried == {
        (method, resolve(re.sub(r"\{\w+\}", names["answer"], path)).view_name)
        for path, view in list_routes()
        for method in view.operations
        if method != "HEAD"
    }


def test_a_name_stands_for_one_value() -> None:
    names, found = Names(), {"id": "1", "other": "2", "more": 3}
    assert names.match({"id": "{a}", "…": "…"}, found)
    assert not names.match({"id": "{a}"}, found)
    assert not names.match({"other": "{a}", "…": "…"}, found)
    assert names.match({"location": "/x/{a}/"}, {"location": "/x/1/"})
    assert not names.match([1, "…"], [1])
