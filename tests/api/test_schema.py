"""`/api/schema/` describes every route, from the shapes that the views themselves read."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from django.test import AsyncClient
from django.urls import get_resolver
from jsonschema import Draft202012Validator

from chat.api import schema, shapes
from chat.core import events
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import NDJSON, Json, Site
from tests.support.sockets import make_session_headers, open_socket


def find_references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(find_references, value.values()))
    return set().union(*map(find_references, value)) if isinstance(value, list) else set()


async def read(path: str) -> Json:
    response: Any = await AsyncClient().get(path)  # without a login: it says nothing of anybody
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    again: Any = await AsyncClient().get(path, headers={"if-none-match": response.headers["ETag"]})
    assert again.status_code == 304
    described: Json = json.loads(response.content)
    return described


@pytest.fixture
async def described(db: None) -> Json:
    return await read("/api/schema/")


async def test_every_route_is_described_with_its_methods(described: Json) -> None:
    routes = dict(schema.list_routes())
    assert len(routes) >= 12
    for path, view in routes.items():
        assert hasattr(view, "operations"), f"{path} is not made by serve_programs"
        assert {method.upper() for method in described["paths"][path]} == {*view.operations} - {"HEAD"}


async def test_the_schema_has_everything_that_it_refers_to(described: Json) -> None:
    """What it refers to is there, each schema is one, each operation has its own id, each path its parameters."""
    assert described["openapi"] == "3.1.0"
    components = described["components"]["schemas"]
    for reference in find_references(described):
        assert reference.removeprefix("#/components/schemas/") in components
    for component in components.values():
        Draft202012Validator.check_schema(component)
    operations = [(path, operation) for path, methods in described["paths"].items() for operation in methods.values()]
    assert len({operation["operationId"] for _, operation in operations}) == len(operations)
    for path, operation in operations:
        named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert all(f"{{{name}}}" in path for name in named)
        assert path.count("{") == len(named)
        assert {"406", "503"} <= {*operation["responses"]}
        assert ("401" in operation["responses"]) == ("schema" not in path)


@pytest.mark.parametrize(
    "shape", [shapes.Question, shapes.Retry, shapes.Continuation, shapes.NewRating, shapes.NewConversation]
)
def test_a_body_is_described_as_it_is_read(shape: type[msgspec.Struct]) -> None:
    """Nothing beside its fields, and no null for what may only be left out."""
    (described,) = msgspec.json.schema_components([shape])[1].values()
    assert described["additionalProperties"] is False
    for field in described["properties"].values():
        assert "null" not in json.dumps(field)


def make_validator(described: Json) -> Draft202012Validator:
    return Draft202012Validator({key: value for key, value in described.items() if key != "$schema"})


async def test_streams_are_described(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="So. ", tool_calls=[Call("calculator", '{"expression": "1+1"}')]))
    provider.script = Script(text="Two.", reasoning="Hm.")
    validator = make_validator(await read("/api/schema/events/"))
    answer = (await site.ask())["id"]
    seen = set()
    for position, event in await site.read_events(answer, media_type=NDJSON):
        validator.validate({**event, "position": position})
        seen.add(event["type"])
    assert {"start", "token", "reasoning", "tool_call", "tool_arguments", "tool_result", "usage", "done"} == seen
    with pytest.raises(Exception, match="is not valid under any"):
        validator.validate({"type": "token"})


async def test_frames_of_the_socket_are_described(site: Site, provider: ProviderServer) -> None:
    validator = make_validator(await read("/api/schema/events/"))
    async with open_socket(make_session_headers(site)) as socket:
        await socket.say(type="send", content="Hello", id="mine")
        for frame in await socket.receive_to_the_end():
            validator.validate(frame)


def test_every_event_that_programs_get_is_described() -> None:
    """An event of the vocabulary is public, or one that no reader sees."""
    hidden = {"Signature", "ToolCallExtra", "NativeForm", "Bookmark", "Finish", "Remark", "Thought", "Continued"}
    known = {kind.__name__ for kind in schema.PUBLIC_EVENTS}
    union = {kind.__name__ for kind in events.Event.__args__}
    assert known | hidden == union


def test_addresses_of_the_api_are_made_for_programs() -> None:
    assert get_resolver().reverse_dict.getlist("api-schema")
