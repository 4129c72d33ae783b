"""A Content-Type with parameters that nobody can read is read without them, on every address."""

from __future__ import annotations

from io import BytesIO

import pytest

from chatsite.servers.handler import Handler

UNREADABLE = [
    b"text/plain; a*=nobodys''%41",
    b"text/plain; charset*=nobodys''utf-8",
    b"text/plain; boundary*=undefined''x",
    b"text/plain; a*=x; a*1*=y",
    b"text/plain; a*" + b"1" * 5000 + b"*=x",
]


@pytest.mark.parametrize("value", UNREADABLE)
def test_a_request_is_made_without_its_parameters(value: bytes) -> None:
    headers = [(b"host", b"localhost"), (b"content-type", value), (b"x-more", b"a; b")]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    request, refusal = Handler().create_request(scope, BytesIO())
    assert refusal is None
    assert (request.content_type, request.content_params, request.encoding) == ("text/plain", {}, None)
    assert request.headers["X-More"] == "a; b"
