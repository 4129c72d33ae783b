"""The API keeps to HTTP's own conventions: methods, redirects, tags, compression, and refusals that say why."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.test import AsyncClient
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.models import Conversation, Message
from tests.provider_server import ProviderServer, Script
from tests.support.site import SSE, Site

MISSING = "00000000-0000-4000-8000-000000000000"
PATHS = {
    "/api/conversations/": "POST",
    f"/api/conversations/{MISSING}/": "GET",
    f"/api/conversations/{MISSING}/messages/": "POST",
    "/api/models/": "GET",
    "/api/usage/": "GET",
    f"/api/answers/{MISSING}/": "GET",
    f"/api/answers/{MISSING}/events/": "GET",
    f"/api/answers/{MISSING}/stop/": "POST",
    f"/api/answers/{MISSING}/retry/": "POST",
    f"/api/answers/{MISSING}/continue/": "POST",
    f"/api/answers/{MISSING}/rating/": "POST",
}


async def request(site: Site, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items() if name != "content_type"}
    media_type = headers.get("content_type", "application/json")
    return await site.client.generic(method, path, body, content_type=media_type, headers=names)


async def test_every_route_says_which_methods_it_takes(site: Site) -> None:
    for path, method in PATHS.items():
        for asked, status in (("OPTIONS", 204), ("TRACE", 405), ("PROPFIND", 405)):
            response = await request(site, asked, path)
            allow = {*response.headers["Allow"].split(", ")}
            assert response.status_code == status, path
            assert {method, "OPTIONS"} <= allow, path
            assert ("HEAD" in allow) == ("GET" in allow), path
        assert json.loads(response.content)["error"]["code"] == "method_not_allowed"


async def test_head_is_get_without_its_content(site: Site) -> None:
    pages = ("/", "/conversations/", "/account/usage/", "/healthz", "/accounts/login/")
    for path in ("/api/models/", "/api/usage/", "/api/conversations/", *pages):
        got, head = await request(site, "GET", path), await request(site, "HEAD", path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["Content-Type"] == got.headers["Content-Type"], path


@pytest.mark.parametrize("path", ["/api/answers/{}/events/", "/answers/{}/stream/"])
async def test_the_head_of_a_stream_does_not_wait_for_its_end(site: Site, provider: ProviderServer, path: str) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin()
    response = await request(site, "HEAD", path.format(answer))
    assert not isinstance(response, StreamingHttpResponse)
    assert (response.status_code, response.headers["Content-Type"]) == (200, SSE)


async def test_a_missing_slash_is_mended_without_losing_the_method(site: Site, settings: Settings) -> None:
    for path in ("/api/conversations", f"/api/answers/{MISSING}/stop", "/send"):
        for settings.DEBUG in (False, True):
            for method in ("GET", "POST", "DELETE"):
                response = await request(site, method, f"{path}?a=b", b"{}")
                assert (response.status_code, response.headers["Location"]) == (308, f"{path}/?a=b")


async def test_a_new_resource_is_named_by_its_address(site: Site) -> None:
    response = await request(site, "POST", "/api/conversations/")
    made = json.loads(response.content)["id"]
    assert (response.status_code, response.headers["Location"]) == (201, f"/api/conversations/{made}/")
    assert (await site.get(response.headers["Location"])).status_code == 200


async def test_an_unchanged_resource_is_not_sent_again(site: Site, provider: ProviderServer) -> None:
    answer = await site.ask()
    for path in (f"/api/answers/{answer['id']}/", f"/api/conversations/{answer['conversation']}/"):
        first = await site.get(path)
        tag = first.headers["ETag"]
        for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
            again = await request(site, "GET", path, if_none_match=known)
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert (await request(site, "GET", path, if_none_match='W/"other"')).status_code == 200
        await site.post(f"/api/answers/{answer['id']}/rating/", {"value": "up"})
        assert (await request(site, "GET", path, if_none_match=tag)).status_code == 200
        await request(site, "DELETE", f"/api/answers/{answer['id']}/rating/")
        assert (await request(site, "GET", path, if_none_match=tag)).status_code == 304


async def test_a_tag_promises_nothing_to_a_change(site: Site, provider: ProviderServer) -> None:
    answer = await site.ask()
    path = f"/api/conversations/{answer['conversation']}/"
    tag = (await site.get(path)).headers["ETag"]
    for method in ("GET", "PATCH", "DELETE"):
        for known in (tag, '"other"', f'"other", {tag}'):
            response = await request(site, method, path, b'{"title": "Other"}', if_match=known)
            assert (response.status_code, json.loads(response.content)["error"]["code"]) == (412, "precondition_failed")
        missing = await request(site, method, f"/api/conversations/{MISSING}/", b"{}", if_match=tag)
        assert missing.status_code == 404
    assert (await request(site, "PATCH", path, b'{"title": "Other"}', if_match="*")).status_code == 200


async def test_a_live_answer_that_says_nothing_has_not_changed(site: Site, provider: ProviderServer) -> None:
    """It is written down again and again, which is no change."""
    provider.script = Script(gate_after=0)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    path = f"/api/answers/{answer}/"
    first = await site.get(path)
    checkpoint = json.loads(first.content)["checkpoint"]
    assert checkpoint["age_ms"] >= 0
    await Message.objects.filter(pk=answer).aupdate(lease_until="2099-01-01T00:00:00Z")
    assert json.loads((await site.get(path)).content)["checkpoint"]["at"] != checkpoint["at"]
    assert (await request(site, "GET", path, if_none_match=first.headers["ETag"])).status_code == 304


async def test_json_is_compressed_and_streams_are_not(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="word " * 1000)
    answer = await site.ask()
    path = f"/api/answers/{answer['id']}/"
    plain, packed = await site.get(path), await request(site, "GET", path, accept_encoding="gzip, br")
    assert (packed.headers["Content-Encoding"], "Content-Encoding" in plain.headers) == ("gzip", False)
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) == int(packed.headers["Content-Length"]) < len(plain.content) / 5
    for response in (plain, packed):
        assert "Accept-Encoding" in response.headers["Vary"]
    refused = await request(site, "GET", path, accept_encoding="gzip;q=0")
    assert "Content-Encoding" not in refused.headers
    for media_type in (SSE, "application/x-ndjson"):
        stream = await request(site, "GET", f"{path}events/", accept_encoding="gzip", accept=media_type)
        assert (stream.streaming, "Content-Encoding" in stream.headers) == (True, False)


async def test_a_request_without_session_and_token_is_told_how_to_log_in(site: Site) -> None:
    stranger: Any = AsyncClient(enforce_csrf_checks=True)
    routes = [("POST", "/api/conversations/"), ("DELETE", f"/api/answers/{MISSING}/rating/"), ("GET", "/api/models/")]
    no_tokens = ("", "Basic YTpi", "Bearer", "Bearer ", "nonsense")
    for authorization in (*no_tokens, "Bearer nonsense", "BEARER nonsense"):
        headers = {"authorization": authorization} if authorization else {}
        for method, path in routes:
            response = await stranger.generic(method, path, b"{}", content_type="application/json", headers=headers)
            assert (response.status_code, json.loads(response.content)["error"]["code"]) == (401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith('Bearer realm="chat"')
            is_token = authorization not in no_tokens
            assert ("invalid_token" in response.headers["WWW-Authenticate"]) == is_token


NAMES = {
    **dict.fromkeys(("application/json", "application/json; charset=utf-8", "APPLICATION/JSON", ""), 201),
    "application/vnd.api+json": 201,
    "application/x-www-form-urlencoded": 201,  # what curl -d calls anything
    **dict.fromkeys(("text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonp"), 415),
    "multipart/form-data": 415,
}


async def test_a_body_that_is_no_json_is_refused_by_its_name(site: Site) -> None:
    for media_type, status in NAMES.items():
        response = await request(site, "POST", "/api/conversations/", b"{}", content_type=media_type)
        assert response.status_code == status, media_type
        assert response.headers["X-Request-ID"]
        if status == 415:
            assert json.loads(response.content)["error"]["code"] == "unsupported_media_type"
    assert await Conversation.objects.acount() == sum(status == 201 for status in NAMES.values())


async def test_a_packed_body_is_refused(site: Site) -> None:
    packed = gzip.compress(b"{}")
    response = await request(site, "POST", "/api/conversations/", packed, content_encoding="gzip")
    assert response.status_code == 415


async def test_a_restart_says_when_to_come_back(site: Site) -> None:
    conversation = await site.begin_conversation()
    await get_runner().drain(0)
    response = await site.post(f"/api/conversations/{conversation}/messages/", {"content": "Hello"})
    refusal = json.loads(response.content)["error"]
    assert (response.status_code, refusal["code"], refusal["retryable"]) == (503, "draining", True)
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/problem+json, application/json", "application/problem+json"),
        ("application/json, application/problem+json;q=0.5", "application/json"),
    ],
)
async def test_a_refusal_is_a_problem_for_whom_that_is_a_word(site: Site, accept: str, media_type: str) -> None:
    response = await request(site, "POST", "/api/conversations/", b'{"x": 1}', accept=accept)
    assert response.headers["Content-Type"] == media_type
    assert json.loads(response.content) == {
        "error": {
            "code": "bad_request",
            "message": "`x` is not a field of this request.",
            "retryable": False,
            "field": "x",
        },
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "`x` is not a field of this request.",
        "errors": [{"detail": "`x` is not a field of this request.", "pointer": "#/x"}],
    }
