"""A forked program has the environment, directory and output that it was given, and ends as a program does."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.forked_servers import ForkedProcess
from tests.support.server import ROOT
from tests.support.services import find_free_port

PATIENCE = 60.0


def test_a_program_prints_into_its_log_and_returns_its_exit_code(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    assert ForkedProcess(["uvicorn", "--version"], {}, tmp_path, log).wait(PATIENCE) == 0
    assert ForkedProcess(["uvicorn", "--no-such-option"], {}, tmp_path, log).wait(PATIENCE) == 2
    before, version, *refusal = log.read_text().splitlines()
    assert (before, version.split()[1]) == ("before", "uvicorn")
    assert any("--no-such-option" in line for line in refusal)


def test_a_program_has_the_given_environment_alone_and_ends_by_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings name what is wrong in the environment; without SECRET_KEY they would say so."""
    monkeypatch.setenv("CHAT_LEASE", "of the tests' own environment")
    environment = {"SECRET_KEY": "x", "DATABASE_URL": f"sqlite:///{tmp_path}/site", "CHAT_DRAIN": "long"}
    command = ["uvicorn", "--port", str(find_free_port()), "chatsite.asgi:application"]
    refused = ForkedProcess(command, environment, ROOT, tmp_path / "refused")
    assert refused.wait(PATIENCE) not in {0, None}
    assert "CHAT_DRAIN" in (tmp_path / "refused").read_text()
    assert "CHAT_LEASE" not in (tmp_path / "refused").read_text()
    serving = ForkedProcess(command, {**environment, "CHAT_DRAIN": "1"}, ROOT, tmp_path / "serving")
    with pytest.raises(subprocess.TimeoutExpired):
        serving.wait(0.1)
    assert serving.poll() is None
    serving.send_signal(signal.SIGKILL)
    assert serving.wait(PATIENCE) == -signal.SIGKILL
