"""The floor: an aiohttp server that hands a provider's bytes on and does nothing else."""

from __future__ import annotations

import sys

import aiohttp
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)


async def pass_on(request: web.Request) -> web.StreamResponse:
    session = request.app[SESSION]
    headers = {"authorization": request.headers["authorization"], "content-type": "application/json"}
    path = f"http://127.0.0.1:{sys.argv[2]}{request.path}"
    async with session.post(path, data=await request.read(), headers=headers) as upstream:
        response = web.StreamResponse(status=upstream.status, headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        return response


async def close(app: web.Application) -> None:
    await app[SESSION].close()


async def make() -> web.Application:
    app = web.Application()
    timeout = aiohttp.ClientTimeout(None)
    app[SESSION] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)
    app.on_cleanup.append(close)
    app.router.add_post("/{path:.*}", pass_on)
    return app


if __name__ == "__main__":
    web.run_app(make(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
