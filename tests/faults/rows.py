"""Rows of the ledger, read from outside of the servers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.support.server import Server

LEDGER = """
import json
from chat.models import Meter, ProviderCall
fields = ("id", "purpose", "outcome", "error_code", "input_tokens", "output_tokens", "estimated", "answer_id")
rows = list(ProviderCall.objects.order_by("pk").values(*fields))
print(json.dumps({"rows": rows, "held": Meter.objects.exclude(held=0).count()}, default=str))
"""


def run_in_shell(server: Server, code: str) -> str:
    return server.manage("shell", "-v", "0", "-c", code)


async def read_ledger(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await asyncio.to_thread(run_in_shell, server, LEDGER))
    return found
