"""A small MCP server over stdin and stdout or HTTP, which misbehaves on request. See tests/tools/test_mcp_tools.py.

python -m tests.support.mcp_server [silent | dead | http PORT]
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import ImageContent, TextContent

server = MCPServer("tests")


@server.tool()
def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


@server.tool()
def process() -> str:
    """Which process this is."""
    return str(os.getpid())


@server.tool()
def environment(name: str) -> str:
    """What a variable of the environment holds."""
    return os.environ.get(name, "nothing")


@server.tool()
def header(name: str, context: Context[Any]) -> str:
    """What a header of this request holds."""
    return (context.headers or {}).get(name, "nothing")


@server.tool(name="dotted.name/of it")
def dotted() -> str:
    """A tool whose name no provider takes."""
    return "dotted"


@server.tool()
def fail() -> str:
    """Raise."""
    raise ValueError("the disk is full")


@server.tool()
def large() -> str:
    """Answer a megabyte."""
    return "x" * 1_000_000


@server.tool()
def unstorable() -> str:
    """Answer what no database takes."""
    return "a\x00b"


@server.tool()
def picture() -> list[Any]:
    """Answer text and a picture."""
    return [TextContent(type="text", text="Look:"), ImageContent(type="image", data="AAAA", mime_type="image/png")]


@server.tool()
async def wait(seconds: float) -> str:
    """Answer late; other calls are answered meanwhile."""
    await anyio.sleep(seconds)
    return "waited"


@server.tool()
async def hang() -> str:
    """Hold the whole process; nothing is answered any more."""
    time.sleep(3600)  # noqa: ASYNC251
    return "never"


@server.tool()
async def die() -> str:
    """End the process in the middle of the call."""
    os._exit(1)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["silent"]:
            time.sleep(3600)
        case ["dead"]:
            sys.exit(1)
        case ["http", port]:
            server.run("streamable-http", host="127.0.0.1", port=int(port))
        case _:
            server.run("stdio")
