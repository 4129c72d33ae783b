"""The clients of docs/clients.md run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.provider_server import ProviderServer, Script
from tests.support.databases import serve_new_site
from tests.support.server import ROOT

TEXT = "Because of the air: Grüße, 東京 and 🚀."
KINDS = {"bash": ("bash", ".sh"), "python": (sys.executable, ".py"), "javascript": ("node", ".mjs")}


@pytest.fixture
def provider_thread() -> Iterator[ProviderServer]:
    with ProviderServer.run_in_thread() as server:
        yield server


def test_the_clients_print_the_answer(tmp_path: Path, provider_thread: ProviderServer) -> None:
    provider_thread.script = Script(text=TEXT, chunk_size=3, delay_between=0.01)
    clients = dict(re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.DOTALL))
    assert clients.keys() == KINDS.keys()
    environment = {"OPENAI_BASE_URL": provider_thread.openai_url, "CHAT_MODELS": "openai:gpt-test"}
    with serve_new_site("uvicorn", tmp_path, **environment) as (server, token):
        for kind, (program, ending) in KINDS.items():
            if shutil.which(program) is None:
                continue  # a developer may have no node; CI has
            script = tmp_path / f"client{ending}"
            script.write_text(clients[kind])
            ran = subprocess.run(
                [program, str(script), server.url, token, 'Why "blue"?'],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (ran.returncode, ran.stderr) == (0, ""), kind
            events = [json.loads(line) for line in ran.stdout.splitlines()] if kind == "bash" else []
            said = "".join(event.get("content", "") for event in events) or ran.stdout
            assert said == TEXT, kind
    assert len(provider_thread.requests) == len([program for program, _ in KINDS.values() if shutil.which(program)])
