"""The server as a process of its own, for benches and faults.

Other processes steer it over HTTP: `POST /_/script` and `POST /_/enqueue` take the fields of a `Script` as JSON,
`POST /_/hold` and `POST /_/release` do what the methods do, and `GET /_/requests` tells what was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

import uvloop

from tests.provider_server.directives import change_script
from tests.provider_server.script import Script
from tests.provider_server.server import ProviderServer


async def serve(port: int, script: Script) -> None:
    """Listen until SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with ProviderServer(script, port=port) as server:
        print(f"listening on {server.url}", flush=True)
        await stopping.wait()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.provider_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=json.loads, default={}, help="the default script's fields, as JSON")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, change_script(Script(), arguments.script)))


if __name__ == "__main__":
    main()
