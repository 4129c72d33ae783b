"""`pip install .` says why it does not work and what does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT


@pytest.mark.parametrize("options", [[], ["--editable"]], ids=["wheel", "editable"])
def test_pip_is_told_to_run_the_site_from_its_checkout(options: list[str], tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "deploy", checkout / "deploy")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path / "installed"),
    ]
    ended = subprocess.run(
        [*command, *options, str(checkout)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode != 0
    assert "run from its checkout" in ended.stdout + ended.stderr
    assert "requirements.txt" in ended.stdout + ended.stderr
    assert not (tmp_path / "installed" / "chat").exists()
