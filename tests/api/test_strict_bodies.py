"""A request means what it says, or is refused with the name of the field that is wrong."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from chat.models import Conversation, Message
from tests.provider_server import ProviderServer
from tests.support.site import Site

GIVEN = '"content": "Hello"'

QUESTIONS = [
    ("{}", "content", "is missing"),
    ('{"content": null}', "content", "must be a string"),
    ('{"content": 1}', "content", "must be a string"),
    ('{"content": ["Hello"]}', "content", "must be a string"),
    ('{"content": "  "}', "content", "Write a message first."),
    (f'{{{GIVEN}, "Model": "x"}}', "Model", "is not a field"),
    (f'{{{GIVEN}, "conversation": "x"}}', "conversation", "is not a field"),
    (f'{{{GIVEN}, "content": "Hello"}}', "content", "twice"),
    (f'{{{GIVEN}, "response_schema": {{"type": "object", "type": "object"}}}}', "response_schema.type", "twice"),
    (f'{{{GIVEN}, "response_schema": {{"enum": [1, {{"a": 1, "a": 2}}]}}}}', "response_schema.enum.1.a", "twice"),
    (f'{{{GIVEN}, "\\ud800": 1}}', "\ufffd", "is not a field"),
    (f'{{{GIVEN}, "": 1}}', "", "is not a field"),
    (f'{{{GIVEN}, "\\udfff": 1, "\\uD800": 2}}', "\ufffd", "twice"),
    (f'{{{GIVEN}, "model": "\\ud83d"}}', "model", "does not offer"),
    (f'{{{GIVEN}, "model": null}}', "model", "must be a string"),
    (f'{{{GIVEN}, "model": ""}}', "model", "at least 1"),
    (f'{{{GIVEN}, "model": "openai:none"}}', "model", "does not offer"),
    (f'{{{GIVEN}, "effort": 3}}', "effort", "must be a string"),
    (f'{{{GIVEN}, "effort": ""}}', "effort", "at least 1"),
    (f'{{{GIVEN}, "turn": ""}}', "turn", "must be a UUID"),
    (f'{{{GIVEN}, "turn": null}}', "turn", "must be a UUID"),
    (f'{{{GIVEN}, "turn": 7}}', "turn", "must be a UUID"),
    (f'{{{GIVEN}, "turn": "not-a-uuid"}}', "turn", "must be a UUID"),
    (f'{{{GIVEN}, "edits": {{}}}}', "edits", "must be a UUID"),
    (f'{{{GIVEN}, "edits": ""}}', "edits", "must be a UUID"),
    (f'{{{GIVEN}, "edits": []}}', "edits", "must be a UUID"),
    (f'{{{GIVEN}, "response_schema": []}}', "response_schema", "must be an object"),
    (f'{{{GIVEN}, "response_schema": null}}', "response_schema", "must be an object"),
    (f'{{{GIVEN}, "response_schema": {{"type": "string"}}}}', "response_schema", '"type": "object"'),
    (f'{{{GIVEN}, "response_format": {{"type": "xml"}}}}', "response_format", "json_schema"),
]
NO_JSON = ["null", "[]", '"Hello"', "1", "{", '{"content": "Hello"', "{'content': 'x'}", '{"content": "x"} {}']
NO_JSON += ['{"content": NaN}', '{"content": "x", "a": Infinity}', "\ufeff\ufeff{}", "[" * 100_000]


async def send(site: Site, path: str, body: str | bytes) -> Any:
    raw = body if isinstance(body, bytes) else body.encode()
    return await site.client.generic("POST", path, raw, content_type="application/json")


async def test_an_invalid_question_is_refused_with_the_field(site: Site, provider: ProviderServer) -> None:
    path = f"/api/conversations/{await site.begin_conversation()}/messages/"
    for body, field, reason in QUESTIONS:
        response = await send(site, path, body)
        said = json.loads(response.content)
        assert (response.status_code, said["error"]["code"]) == (400, "bad_request"), body
        assert said["error"]["field"] == field, body
        assert reason in said["error"]["message"], body
        pointer = f"#/{quote(field.replace('.', '/'))}"
        assert said["errors"] == [{"detail": said["error"]["message"], "pointer": pointer}]
    assert provider.requests == []
    assert await Message.objects.acount() == 0


async def test_bodies_that_are_no_json_object_are_refused(site: Site) -> None:
    for body in (*(text.encode() for text in NO_JSON), b'{"content": "\xff"}', b"\x00{}"):
        response = await send(site, "/api/conversations/", body)
        said = json.loads(response.content)["error"]
        assert (response.status_code, said["message"]) == (400, "The body must be a JSON object."), body
    assert await Conversation.objects.acount() == 0


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("stop", '{"reason": "tired"}', "reason"),
        ("retry", '{"content": "Hello"}', "content"),
        ("retry", '{"model": 1}', "model"),
        ("retry", '{"turn": ""}', "turn"),
        ("continue", '{"effort": "fast"}', "effort"),
        ("continue", '{"turn": false}', "turn"),
        ("rating", "{}", "value"),
        ("rating", '{"value": "sideways"}', "value"),
        ("rating", '{"value": "up", "comment": null}', "comment"),
        ("rating", '{"value": "up", "consent": 1}', "consent"),
    ],
)
async def test_every_body_is_held_to_its_shape(
    site: Site, provider: ProviderServer, route: str, body: str, field: str
) -> None:
    answer = (await site.ask())["id"]
    response = await send(site, f"/api/answers/{answer}/{route}/", body)
    assert (response.status_code, json.loads(response.content)["error"].get("field")) == (400, field)
    assert await Message.objects.acount() == 2


@pytest.mark.parametrize(
    ("name", "pointer"),
    [("a/b", "#/a~1b"), ("a~b", "#/a~0b"), ("a.b", "#/a.b"), ("a b#%", "#/a%20b%23%25"), ("é", "#/%C3%A9")],
)
@pytest.mark.parametrize("body", ['{"NAME": 1}', '{"NAME": 1, "NAME": 2}'])
async def test_a_pointer_keeps_to_the_grammar_whatever_the_name(site: Site, body: str, name: str, pointer: str) -> None:
    response = await send(site, "/api/conversations/", body.replace("NAME", name))
    assert json.loads(response.content)["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("route", ["stop", "retry", "rating"])
async def test_a_missing_body_counts_as_an_empty_one(site: Site, provider: ProviderServer, route: str) -> None:
    answer = (await site.ask())["id"]
    response = await send(site, f"/api/answers/{answer}/{route}/", b"")
    assert response.status_code == {"stop": 200, "retry": 202, "rating": 400}[route]


@pytest.mark.parametrize("body", ["\ufeff{}", " {}\n", '{"turn": "2E7D1A40-6D6F-4B5E-9E0A-5B9D3F0C8A11"}'])
async def test_json_in_other_notations_is_accepted(site: Site, body: str) -> None:
    assert (await send(site, "/api/conversations/", body)).status_code == 201


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("\\ud83d\\ude00", "\U0001f600"),
        ("\\ud83d", "\ufffd"),
        ("\\ud83d\\ud83d\\ude00", "\ufffd\U0001f600"),
        ("\\ude00\\ud83d", "\ufffd\ufffd"),
        ("\\\\ud83d", "\\ud83d"),
        ("\\\\\\ud83d.", "\\\ufffd."),
        ("\\n\\ud83dn", "\n\ufffdn"),
    ],
)
async def test_half_a_character_is_kept_as_a_mark(
    site: Site, provider: ProviderServer, written: str, kept: str
) -> None:
    conversation = await site.begin_conversation()
    response = await send(site, f"/api/conversations/{conversation}/messages/", f'{{"content": "a{written}b"}}')
    assert response.status_code == 200
    schema = f'{{"type": "object", "properties": {{"{written}": {{"enum": ["{written}"]}}}}}}'
    body = f'{{"content": "As JSON", "response_schema": {schema}}}'
    refused = await send(site, f"/api/conversations/{conversation}/messages/", body)
    assert refused.status_code == 200
    [question, _, _, answer] = json.loads((await site.get(f"/api/conversations/{conversation}/")).content)["messages"]
    assert question["text"] == f"a{kept}b"
    assert answer["response_schema"]["properties"] == {kept: {"enum": [kept]}}


async def test_a_long_name_is_not_repeated_whole(site: Site) -> None:
    response = await send(site, "/api/conversations/", json.dumps({"x" * 10_000: 1}))
    assert response.status_code == 400
    assert len(response.content) < 1_000
