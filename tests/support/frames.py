"""Frames of the tests' provider server."""

from __future__ import annotations

from typing import Any

from tests.provider_server import Script
from tests.provider_server.openai import OpenAIWire


def encode_openai_frames(script: Script, **request: Any) -> list[bytes]:
    return [frame.data for frame in OpenAIWire(script, {"model": "m", **request}).write_frames()]
