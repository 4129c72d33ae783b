"""An MCP server over stdin and stdout without an SDK, which answers what its arguments say, as JSON.

python -m tests.support.odd_mcp_server '{"tools/list": [PAGE, …], "tools/call": RESULT, "initialize": MEMBERS}'

A page that has not been asked for at a call is announced as a change of the list.
"""

from __future__ import annotations

import json
import sys
from typing import Any

PLAIN = {"name": "plain", "inputSchema": {"type": "object", "properties": {}}}


def answer(method: str, parameters: dict[str, Any], scripted: dict[str, Any]) -> Any:
    """Return the result of a request, None for a method that the server does not know."""
    if method == "initialize":
        plain = {"capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"}}
        return {"protocolVersion": parameters["protocolVersion"], **plain, **scripted.get(method, {})}
    if method == "tools/list":
        pages = scripted.get(method, [{"tools": [PLAIN]}])
        asked.append(parameters.get("cursor"))
        return pages[min(len(asked), len(pages)) - 1]
    return scripted.get(method) or ({"content": [{"type": "text", "text": f"{len(asked)} pages"}]})


asked: list[Any] = []

if __name__ == "__main__":
    script = json.loads(sys.argv[1])
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        head = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] in ("initialize", "tools/list", "tools/call"):
            body = {"result": answer(message["method"], message.get("params") or {}, script)}
        else:
            body = {"error": {"code": -32601, "message": "Method not found"}}
        if message["method"] == "tools/call" and len(script.get("tools/list", [])) > len(asked):
            print(json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}), flush=True)
        print(json.dumps(head | body), flush=True)
