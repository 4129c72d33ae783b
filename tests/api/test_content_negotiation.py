"""`Accept`, `Accept-Encoding` and `Prefer` are read by their grammar."""

from __future__ import annotations

import json

import pytest

from chat.http.negotiation import JSON, accepts_gzip, choose_media_type, read_preferences, split_list
from chat.models import Message
from tests.provider_server import ProviderServer
from tests.support.site import NDJSON, SSE, Site

KINDS = (JSON, NDJSON, SSE)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        (" ", JSON),
        (", ,", JSON),
        ("*", JSON),
        ("*;q=0", None),
        ("*;q=0.1, text/event-stream", SSE),
        ("*/*", JSON),
        ("application/json", JSON),
        ("text/event-stream", SSE),
        ("TEXT/Event-Stream", SSE),
        ("application/x-ndjson", NDJSON),
        ("application/json, text/event-stream;q=0", JSON),
        ("application/json;q=0.5, text/event-stream;q=0.6", SSE),
        ("application/json;q=0.6, text/event-stream;q=0.5", JSON),
        ("application/json ; q=0.6 , text/event-stream ; Q=0.7", SSE),
        ("text/event-stream;q=0.001", SSE),
        ("text/event-stream;q=0.000", None),
        ("text/event-stream; charset=utf-8", SSE),
        ('text/event-stream; note="a, application/json", application/x-ndjson;q=0.1', SSE),
        ("text/*", SSE),
        ("application/*", JSON),
        ("application/*, application/json;q=0", NDJSON),
        ("*/*, application/json;q=0.1", NDJSON),
        ("*/*;q=0.1, text/event-stream", SSE),
        ("text/event-stream, */*", SSE),
        ("application/json, text/plain, */*", JSON),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", JSON),
        ("text/html, image/gif, *; q=.2, */*; q=.2", JSON),
        ("application/json, text/event-stream", SSE),
        ("text/html", None),
        ("application/jsonp", None),
        ("application/json-seq, xtext/event-streamx", None),
        ("*/*;q=0", None),
        ("text/event-stream;q=2", None),
        ("text/event-stream;q=-1, application/json;q=x", None),
        ("nonsense", None),
        (",,, application/x-ndjson ,", NDJSON),
    ],
)
def test_the_media_type_that_a_client_prefers_is_chosen(accept: str | None, chosen: str | None) -> None:
    assert choose_media_type(accept, KINDS) == chosen


@pytest.mark.parametrize(
    ("prefer", "preferences"),
    [
        ("", {}),
        ("respond-async", {"respond-async": ""}),
        ("Respond-Async, wait=10", {"respond-async": "", "wait": "10"}),
        ('wait = "1,2" ; extra=respond-async', {"wait": "1,2"}),
        ("return=minimal, RETURN=representation", {"return": "minimal"}),
        ("not-respond-async", {"not-respond-async": ""}),
        ('note="respond-async"', {"note": "respond-async"}),
        ("respond-async; foo=bar", {"respond-async": ""}),
    ],
)
def test_preferences_are_read_by_name(prefer: str, preferences: dict[str, str]) -> None:
    assert read_preferences(prefer) == preferences


@pytest.mark.parametrize(
    ("accept_encoding", "takes"),
    [
        *(("", False), ("gzip", True), ("GZIP;q=0.1", True), ("gzip;q=0", False), ("*", True), ("*, gzip;q=0", False)),
        *(("br, deflate", False), ("identity", False), ("x-gzip", True), ("gzipped", False)),
    ],
)
def test_gzip_is_accepted_by_its_quality_value(accept_encoding: str, takes: bool) -> None:
    assert accepts_gzip(accept_encoding) is takes


@pytest.mark.parametrize("header", ['"', '"a', 'a"b', '\\"', ",", '"a\\', "a,,b" * 2000, '"' * 4001, "a;" * 4000])
def test_any_header_is_read_without_an_error(header: str) -> None:
    """In time too: none of the patterns goes back over what it has read."""
    split_list(header)
    read_preferences(header)
    choose_media_type(header, KINDS)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/json, text/event-stream;q=0", JSON),
        ("TEXT/EVENT-STREAM", SSE),
        ("application/x-ndjson", NDJSON),
        ("*/*", JSON),
    ],
)
async def test_an_answer_comes_in_the_form_that_its_client_prefers(
    site: Site, provider: ProviderServer, accept: str, media_type: str
) -> None:
    path = f"/api/conversations/{await site.begin_conversation()}/messages/"
    response = await site.post(path, {"content": "Hello"}, accept=accept)
    assert (response.status_code, response.headers["Content-Type"]) == (200, media_type)
    assert {"Accept", "Prefer"} <= {*response.headers["Vary"].split(", ")}
    assert "Preference-Applied" not in response.headers


async def test_a_question_whose_answer_has_no_acceptable_type_is_not_asked(
    site: Site, provider: ProviderServer
) -> None:
    path = f"/api/conversations/{await site.begin_conversation()}/messages/"
    response = await site.post(path, {"content": "Hello"}, accept="text/html, application/json;q=0")
    assert (response.status_code, json.loads(response.content)["error"]["code"]) == (406, "not_acceptable")
    assert provider.requests == []
    assert await Message.objects.acount() == 0


@pytest.mark.parametrize("accept", [SSE, NDJSON, f"text/html, {NDJSON};q=0.5"])
async def test_a_program_that_names_a_stream_everywhere_gets_json_where_there_is_none(site: Site, accept: str) -> None:
    assert (await site.post("/api/conversations/", {}, accept=accept)).status_code == 201


@pytest.mark.parametrize("accept", ["text/html", f"{NDJSON};q=0", "*/*;q=0"])
async def test_a_conversation_is_not_made_for_a_client_that_accepts_no_json(site: Site, accept: str) -> None:
    assert (await site.post("/api/conversations/", {}, accept=accept)).status_code == 406


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*;q=0"])
async def test_events_come_as_streams_only(site: Site, provider: ProviderServer, accept: str) -> None:
    answer = (await site.ask())["id"]
    assert (await site.get(f"/api/answers/{answer}/events/", accept=accept)).status_code == 406


@pytest.mark.parametrize(
    ("prefer", "status"), [("RESPOND-ASYNC; x=y", 202), ("wait=5, respond-async", 202), ("x", 200)]
)
async def test_a_preference_that_was_followed_is_named_in_the_response(
    site: Site, provider: ProviderServer, prefer: str, status: int
) -> None:
    path = f"/api/conversations/{await site.begin_conversation()}/messages/"
    response = await site.post(path, {"content": "Hello"}, prefer=prefer, accept=SSE if status == 202 else JSON)
    assert response.status_code == status
    assert response.headers.get("Preference-Applied") == ("respond-async" if status == 202 else None)
    if status == 202:
        said = json.loads(response.content)
        assert response.headers["Location"] == f"/api/answers/{said['answer']}/"
        await site.read_events(said["answer"])


async def test_a_form_without_fields_counts_as_an_empty_body(site: Site) -> None:
    path = "/api/conversations/"
    assert (await site.client.post(path)).status_code == 201
    assert (await site.client.post(path, {"title": "A form"})).status_code == 415
