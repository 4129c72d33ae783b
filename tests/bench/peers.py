"""Other ways to stream an answer, under the bench's load: `--peers starlette,ai-sdk --peers-from DIR`.

They are no dependencies of the site, so they are installed elsewhere, into DIR:

    python3 -m venv DIR/venv && DIR/venv/bin/pip install starlette uvicorn uvloop httptools openai
    cd DIR && npm install ai @ai-sdk/openai-compatible

`starlette` is a view of Starlette on uvicorn that asks with OpenAI's SDK; `ai-sdk` is Node's HTTP server with Vercel's
AI SDK. Both hand each piece of text on as it comes and keep nothing: no login, no database, no limits, no ledger, and
an answer ends with its connection. Chainlit speaks Socket.IO only, to sessions of its own pages, so the load client has
no way to ask it what it asks the others.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import wait_for

STARLETTE = """\
import json, sys
import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

provider = AsyncOpenAI(api_key="sk", base_url=f"http://127.0.0.1:{sys.argv[2]}/v1", max_retries=0)

async def answer(asked):
    stream = await provider.chat.completions.create(
        model="m", messages=asked["messages"], stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield f"data: {json.dumps({'content': chunk.choices[0].delta.content})}\\n\\n"
    yield "data: [DONE]\\n\\n"

async def ask(request: Request) -> StreamingResponse:
    return StreamingResponse(answer(await request.json()), media_type="text/event-stream")

app = Starlette(routes=[Route("/v1/chat/completions", ask, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, backlog=4096)
"""

AI_SDK = """\
import { createServer } from "node:http";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

const [port, provider] = process.argv.slice(2);
const models = createOpenAICompatible({ name: "bench", apiKey: "sk", baseURL: `http://127.0.0.1:${provider}/v1` });

createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  const answer = streamText({ model: models.chatModel("m"), messages: JSON.parse(body).messages, maxRetries: 0 });
  answer.pipeUIMessageStreamToResponse(response);
}).listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
"""

PEERS = {
    "starlette": ("starlette_peer.py", STARLETTE, "venv/bin/python"),
    "ai-sdk": ("ai_sdk_peer.mjs", AI_SDK, "node"),
}
"""The file of each, its program, and what runs it."""


@contextmanager
def serve_peer(name: str, directory: Path, port: int, provider: int) -> Iterator[int]:
    """Have a peer listen on a port and ask the provider on another; yield its pid."""
    file, program, runner = PEERS[name]
    (directory / file).write_text(program)
    if "/" in runner:
        runner = str(directory.resolve() / runner)
    command = [runner, file, str(port), str(provider)]
    with subprocess.Popen(command, cwd=directory, env={**os.environ, "NODE_ENV": "production"}) as started:
        try:
            wait_for(port)
            yield started.pid
        finally:
            started.terminate()
