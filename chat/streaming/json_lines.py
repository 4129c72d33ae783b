"""JSON on one line, for readers that split a text into lines."""

from __future__ import annotations

import re

import msgspec

_encoder = msgspec.json.Encoder()

# U+0085, U+2028 and U+2029 in UTF-8. JSON allows them as they are, and many readers end a line there, Python's
# `splitlines` among them.
_ESCAPES = {b"\xc2\x85": b"\\u0085", b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029"}
_LINE_END = re.compile(b"|".join(_ESCAPES))


def encode_line(value: object) -> bytes:
    """Return the value as JSON in UTF-8, without any character that some reader takes for the end of a line."""
    return _LINE_END.sub(lambda found: _ESCAPES[found[0]], _encoder.encode(value))
