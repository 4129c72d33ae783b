"""A provider for tests: a local HTTP server that speaks three wire formats and fails in every way they can.

    async with ProviderServer() as server:                      # in the test's event loop
    with ProviderServer.run_in_thread() as server:                  # in a thread of its own
    python -m tests.provider_server --port 9000                 # in a process of its own

What it answers is a `Script`: `server.script` is the default, `server.enqueue` gives the next requests theirs,
and a directive in the user's message (see `directives.py`) changes the script for its answer.
"""

from tests.provider_server.recorded_request import RecordedRequest
from tests.provider_server.script import Call, RefusedPart, Script
from tests.provider_server.server import ProviderServer

__all__ = ["Call", "ProviderServer", "RecordedRequest", "RefusedPart", "Script"]
