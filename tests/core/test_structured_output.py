"""An answer that is JSON by a schema: asked for, streamed field by field, and held to it."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from pytest_django import Settings

from chat.core import json_schema
from chat.core.errors import ChatError
from chat.core.json_fields import Fields
from chat.core.json_schema import UnusableSchemaError, check_schema
from chat.models import Message, ProviderCall
from chatsite.asgi import application
from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import NDJSON, SSE, Json, Positioned, Site, join_text

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "home": {"type": "object", "properties": {"city": {"type": "string"}}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "pets": {"type": "array"},
    },
    "required": ["name", "age"],
}
VALUE = {
    "name": 'Ada "Countess" \\ 💡 {[,:]}',
    "age": 36,
    "home": {"city": "London", "none": {}, "a/b~c": None},
    "tags": ["maths", "", "verse"],
    "pets": [{"kind": "cat", "names": ["Puff", "]"]}, [1, [2]], -1.5e3, True],
    "empty": [],
}
TEXT = json.dumps(VALUE, ensure_ascii=False)
FIELDS = [
    ("/name", VALUE["name"]),
    ("/age", 36),
    ("/home/city", "London"),
    ("/home/none", {}),
    ("/home/a~1b~0c", None),
    ("/tags/0", "maths"),
    ("/tags/1", ""),
    ("/tags/2", "verse"),
    ("/pets/0", {"kind": "cat", "names": ["Puff", "]"]}),
    ("/pets/1", [1, [2]]),
    ("/pets/2", -1500.0),
    ("/pets/3", True),
    ("/empty", []),
]


def make_script(model: str, text: str = TEXT, **how: Any) -> Script:
    """Return the script of a model that answers with this JSON; Anthropic's does so by a tool call."""
    if model == ANTHROPIC:
        return Script(text="", tool_calls=[Call("answer", text)], **how)
    return Script(text=text, **how)


def list_fields(events: list[Positioned]) -> list[tuple[str, Any]]:
    return [(event["path"], event["value"]) for _, event in events if event["type"] == "field"]


def feed_pieces(*pieces: str) -> list[tuple[str, Any]]:
    fields = Fields()
    return [(field.path, field.value) for piece in pieces for field in fields.feed(piece)]


async def ask(site: Site, **fields: Any) -> Json:
    return await site.ask("Who?", **{"response_schema": SCHEMA, **fields})


# The fields of a growing text


@pytest.mark.parametrize("text", [TEXT, json.dumps(VALUE, indent=2), json.dumps(VALUE, separators=(",", ":"))])
def test_every_cut_of_a_text_gives_each_field_once(text: str) -> None:
    assert all(feed_pieces(text[:cut], text[cut:]) == FIELDS for cut in range(len(text) + 1))
    assert feed_pieces(*text) == FIELDS


def test_a_field_is_given_with_the_character_that_completes_it() -> None:
    fields = Fields()
    completed = [
        (index, field.path) for index, sign in enumerate('{"a":"x","b":12 ,"c":[[3],4]}') for field in fields.feed(sign)
    ]
    assert completed == [(7, "/a"), (16, "/b"), (24, "/c/0"), (27, "/c/1")]


@pytest.mark.parametrize(
    "text",
    [
        "Sure! {}",
        "[1, 2]",
        "12",
        '"a"',
        '{"a" 1}',
        "{1: 2}",
        '{"a": nope}',
        '{"a": {{',
        "}",
        '{"a": "\\q"}',
        '{"a":1}}{"b":2}',
    ],
)
def test_text_that_is_no_object_gives_no_wrong_field(text: str) -> None:
    assert feed_pieces(*text) in ([], [("/a", 1)])


def test_the_depth_of_nested_json_is_bounded() -> None:
    assert feed_pieces('{"a":' * 5000 + "1" + "}" * 5000) == []
    assert feed_pieces('{"a":[' + "[" * 100 + "1" + "]" * 100 + "]}") == []
    assert feed_pieces('{"a":[' + "[" * 5000 + "1" + "]" * 5000 + "]}") == []


def test_any_json_gives_back_its_value() -> None:
    chance = random.Random(1)

    def draw_value(depth: int) -> Any:
        if depth and chance.random() < 0.6:
            size = chance.randrange(4)
            if chance.random() < 0.5:
                return {chance.choice('ab"\\/~é') * (index + 1): draw_value(depth - 1) for index in range(size)}
            return [draw_value(depth - 1) for _ in range(size)]
        return chance.choice([None, True, 0, -2.5, "", 'x"y\\z', "{,}"])

    for _ in range(300):
        whole = {"root": draw_value(4)}
        text = json.dumps(whole)
        cut = chance.randrange(len(text))
        assert put_together(feed_pieces(text[:cut], text[cut:])) == whole


def put_together(fields: list[tuple[str, Any]]) -> Any:
    """Rebuild the value from its fields, each with its JSON pointer; here no member's name is a number."""
    whole: dict[str, Any] = {}
    for path, value in fields:
        names = [name.replace("~1", "/").replace("~0", "~") for name in path.split("/")[1:]]
        inside: Any = whole
        for name, following in zip(names, [*names[1:], ""], strict=True):
            if isinstance(inside, list):
                assert int(name) == len(inside)
                inside.append(value)
                continue
            inside = inside.setdefault(name, value if not following else [] if following == "0" else {})
    return whole


# The events


async def test_both_formats_bring_the_text_and_its_fields(site: Site, provider: ProviderServer, model: str) -> None:
    provider.script = make_script(model, chunk_size=5)
    answer = await ask(site, model=model)
    assert (answer["status"], answer["finish_reason"], answer["text"]) == ("complete", "stop", TEXT)
    assert answer["response_schema"] == SCHEMA
    for media_type in (SSE, NDJSON):
        events = await site.read_events(answer["id"], media_type=media_type)
        assert list_fields(events) == FIELDS
        assert join_text(events) == TEXT
        assert not [event for _, event in events if event["type"].startswith("tool")]


async def test_the_provider_is_given_the_schema_and_no_tools(
    site: Site, provider: ProviderServer, model: str, settings: Settings
) -> None:
    provider.script = make_script(model)
    await ask(site, model=model)
    body = provider.requests[0].body
    if model == OPENAI:
        assert body["response_format"]["json_schema"]["schema"] == SCHEMA
        assert "tools" not in body
    else:
        assert [tool["input_schema"] for tool in body["tools"]] == [SCHEMA]
        assert body["tool_choice"]["name"] == "answer"


async def test_fields_come_while_the_answer_is_written(site: Site, provider: ProviderServer) -> None:
    text = '{"name": "Ada", "age": 36}'
    provider.script = Script(text=text, gate_after=text.index(", "))
    answer = await site.begin("Who?", response_schema=SCHEMA)  # type: ignore[arg-type]
    async for _, event in site.follow(answer):
        if event["type"] == "field" and event["path"] == "/name":
            assert (await site.answer(answer))["status"] != "complete"
            provider.release()
            break
    else:
        pytest.fail("no field came")


async def test_every_position_is_a_place_to_come_back_to(site: Site, provider: ProviderServer) -> None:
    text = '{"name": "Ada", "tags": ["x", "yz"], "age": 36}'
    provider.script = Script(text=text, reasoning="Hm, {", chunk_size=3)
    answer = (await ask(site))["id"]
    whole = await site.read_events(answer, after=0)
    last, before = whole[-1].position, len("Hm, {") + 1  # the reasoning, and how long it took
    assert [event["type"] for _, event in whole[-2:]] == ["usage", "done"]
    for cut in range(1, last):
        later = await site.read_events(answer, after=cut)
        assert join_text(later) == text[max(0, cut - before) :]
        had = [field for field in list_fields(whole) if field not in list_fields(later)]
        assert had + list_fields(later) == list_fields(whole)
        assert had == feed_pieces(text[: max(0, cut - before)])
        assert later[-1].event["type"] == "done"
        positions = [position for position, _ in later]
        assert positions == sorted(positions)
        assert positions[-1] == last


async def test_the_fields_of_a_piece_of_text_come_before_it(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, chunk_size=1, delay_between=0.001)
    answer = await site.begin("Who?", response_schema=SCHEMA)  # type: ignore[arg-type]
    text, told = "", []
    async for _, event in site.follow(answer):
        if event["type"] == "field":
            told.append((event["path"], event["value"]))
        elif event["type"] == "token":
            text += event["content"]
            assert told == feed_pieces(text)
    assert text == TEXT


async def test_an_answer_without_a_schema_has_no_fields(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT)
    answer = await site.ask()
    assert not list_fields(await site.read_events(answer["id"]))
    assert answer["response_schema"] is None


async def test_a_socket_has_the_same_fields(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT)
    await site.client.aforce_login(site.user)
    cookie = site.client.cookies["sessionid"].value
    headers = [(b"host", b"testserver"), (b"cookie", f"sessionid={cookie}".encode())]
    socket = WebsocketCommunicator(application, "/ws/chat/", headers=headers)
    assert (await socket.connect())[0]
    await socket.send_json_to({"type": "send", "content": "Who?", "response_schema": SCHEMA})
    frames = [await socket.receive_json_from(10)]
    while frames[-1]["type"] not in ("done", "error"):
        frames.append(await socket.receive_json_from(10))
    assert [(frame["path"], frame["value"]) for frame in frames if frame["type"] == "field"] == FIELDS
    await socket.disconnect()


# The end


@pytest.mark.parametrize(
    "text", ['{"name": "Ada"}', '{"name": "Ada", "age": "old"}', "I cannot say.", '{"name": "A', ""]
)
async def test_an_answer_of_another_form_is_interrupted_and_kept(
    site: Site, provider: ProviderServer, text: str
) -> None:
    provider.script = Script(text=text)
    answer = await ask(site)
    assert (answer["status"], answer["error"]["code"], answer["text"]) == ("interrupted", "invalid_output", text)
    assert answer["error"]["retryable"]
    events = await site.read_events(answer["id"])
    assert (events[-1].event["type"], events[-1].event["code"]) == ("error", "invalid_output")
    call = await ProviderCall.objects.aget(answer=answer["id"])
    assert (call.outcome, call.error_code, call.output_tokens) == ("interrupted", "invalid_output", 34)


async def test_the_input_of_anthropics_tool_is_held_to_the_schema_too(site: Site, provider: ProviderServer) -> None:
    provider.script = make_script(ANTHROPIC, '{"name": 1}')
    answer = await ask(site, model=ANTHROPIC)
    assert (answer["error"]["code"], answer["text"]) == ("invalid_output", '{"name": 1}')


async def test_a_provider_that_sends_the_input_whole_is_understood(site: Site, provider: ProviderServer) -> None:
    provider.script = make_script(ANTHROPIC, '{"name": "Ada", "age": 36}', tool_call_style="whole")
    answer = await ask(site, model=ANTHROPIC)
    assert (answer["status"], json.loads(answer["text"])) == ("complete", {"name": "Ada", "age": 36})


async def test_a_retry_asks_by_the_same_schema(site: Site, provider: ProviderServer, model: str) -> None:
    provider.enqueue(make_script(model, "{}"))
    provider.script = make_script(model)
    first = await ask(site, model=model)
    second = await site.retry(first["id"])
    assert list_fields(await site.read_events(second)) == FIELDS
    assert (await site.answer(second))["status"] == "complete"
    kept = await Message.objects.aget(pk=second)
    assert kept.response_schema == SCHEMA


async def test_json_by_a_schema_is_asked_again_and_not_continued(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text='{"name": "A', finish_reason="length")
    answer = await ask(site)
    refused = await site.post(f"/api/answers/{answer['id']}/continue/")
    assert (refused.status_code, json.loads(refused.content)["error"]["code"]) == (409, "not_continuable")


async def test_the_next_question_has_no_schema_of_its_own(site: Site, provider: ProviderServer) -> None:
    conversation = await site.begin_conversation()
    provider.enqueue(Script(text=TEXT))
    provider.script = Script(text="Plain words.")
    await ask(site, conversation=conversation)
    answer = await site.ask("And now?", conversation)
    assert (answer["status"], answer["text"]) == ("complete", "Plain words.")
    assert "response_format" not in provider.requests[1].body


# The schemas


async def test_openais_way_to_say_it_is_understood(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT)
    asked: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    answer = await site.ask("Who?", response_format=asked)
    assert answer["response_schema"] == SCHEMA


@pytest.mark.parametrize(
    "fields",
    [
        {"response_schema": "object"},
        {"response_schema": {"type": "array"}},
        {"response_schema": {"type": "object", "properties": []}},
        {"response_schema": {"type": "object", "description": "x" * json_schema.MAX_CHARACTERS}},
        {"response_schema": {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}}},
        {"response_schema": {"type": "object", "properties": {"a": {"$id": "https://example.com/"}}}},
        {"response_schema": {"type": "object", "properties": {"a": {"pattern": "(?=x)"}}}},
        {"response_schema": {"type": "object", "patternProperties": {"(a+)+$": {}}}},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"response_format": "json"},
        {"response_schema": SCHEMA, "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
    ],
)
async def test_a_schema_that_cannot_be_used_is_refused(site: Site, provider: ProviderServer, fields: Json) -> None:
    path = f"/api/conversations/{await site.begin_conversation()}/messages/"
    refused = await site.post(path, {"content": "Who?", **fields})
    assert (refused.status_code, json.loads(refused.content)["error"]["code"]) == (400, "bad_request")
    assert not provider.requests


def test_names_of_members_are_no_keywords() -> None:
    names = {"pattern": {"type": "string"}, "$id": {"type": "string"}, "$ref": {"type": "string"}}
    schema = {"type": "object", "properties": names, "$schema": "http://json-schema.org/draft-07/schema#"}
    assert check_schema(schema) == {"type": "object", "properties": names}


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: Json = {"type": "object"}
    for _ in range(400):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(UnusableSchemaError):
        check_schema(schema)


async def check_and_read_code(text: str, schema: Json) -> str:
    try:
        await json_schema.check_text(text, check_schema(schema))
    except ChatError as error:
        return error.code
    return ""


async def test_references_within_the_schema_are_followed() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}}
    assert await check_and_read_code('{"next": {"next": {"n": 1}}}', schema) == ""
    assert await check_and_read_code('{"next": {"next": {"n": "x"}}}', schema) == "invalid_output"


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|a)*c"])
async def test_no_pattern_takes_long(pattern: str) -> None:
    began = time.monotonic()
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    assert await check_and_read_code(json.dumps({"a": "a" * 20_000 + "b"}), schema) == "invalid_output"
    assert time.monotonic() - began < json_schema.PATIENCE


async def test_references_that_multiply_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "PATIENCE", 0.2)
    steps: Json = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(40)}
    schema = {"type": "object", "allOf": [{"$ref": "#/$defs/s0"}], "$defs": {**steps, "s40": True}}
    began = time.monotonic()
    assert await check_and_read_code("{}", schema) == "invalid_output"
    assert time.monotonic() - began < 5


async def test_a_reference_without_end_ends() -> None:
    assert await check_and_read_code("{}", {"type": "object", "allOf": [{"$ref": "#"}]}) == "invalid_output"


@pytest.mark.parametrize("reference", ["#/$defs/missing", "#/$defs/", "#missing", "#/$defs/name/type", "#/type"])
def test_a_reference_to_nothing_is_refused_before_it_costs(reference: str) -> None:
    schema = {"type": "object", "allOf": [{"$ref": reference}], "$defs": {"name": {"type": "string"}}}
    with pytest.raises(UnusableSchemaError, match="refers to nothing"):
        check_schema(schema)


@pytest.mark.parametrize("reference", ["#", "#/$defs/name", "#/$defs/a~1b", "#/$defs/a%20b", "#/properties/x"])
def test_a_reference_to_a_part_of_the_schema_is_taken(reference: str) -> None:
    parts = {name: {"type": "string"} for name in ("name", "a/b", "a b")}
    check_schema({"type": "object", "properties": {"x": True, "y": {"$ref": reference}}, "$defs": parts})


async def test_a_key_that_comes_twice_is_no_valid_output() -> None:
    """Readers would disagree: most take the last one, some the first."""
    schema = {"type": "object", "properties": {"a": {"type": "object"}}}
    assert await check_and_read_code('{"a": {"b": 1, "b": 1}}', schema) == "invalid_output"
    assert await check_and_read_code('{"a": {"b": 1}, "b": 1}', schema) == ""
