"""Where the site may not write its checkout, as deploy/ runs it, all that it writes has a place elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import OURS, ROOT

START = 60.0
HOME = "/var/lib/chatsite"  # which the unit and the image make for the site's user
ASK = """
import json
from django.conf import settings
print(json.dumps([settings.CHAT_EXCHANGE_DIRECTORY, settings.CHAT_JOURNAL]))
"""


def read_variables(name: str) -> dict[str, str]:
    """Return the variables of the site that a file of deploy/ sets itself."""
    return dict(re.findall(r"(?<![\w.])(CHAT_[A-Z_]+)=(\S+)", drop_comments((ROOT / "deploy" / name).read_text())))


def drop_comments(text: str) -> str:
    return re.sub(r"^#.*$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["chatsite@.service", "Dockerfile"])
def test_archives_and_journal_lie_outside_the_checkout(tmp_path: Path, name: str) -> None:
    """With what docs/deploy.md says to set, a key and a PostgreSQL, which the settings do not connect to."""
    given = {variable: value.replace(HOME, str(tmp_path)) for variable, value in read_variables(name).items()}
    environment = {
        **{variable: value for variable, value in os.environ.items() if not variable.startswith(OURS)},
        "SECRET_KEY": "only for tests",
        "DATABASE_URL": "postgres://chat:word@127.0.0.1:1/chat",
        "DJANGO_SETTINGS_MODULE": "chatsite.settings",
        **given,
    }
    asked = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env=environment, capture_output=True, timeout=START, check=True
    )
    written = [directory for directory in json.loads(asked.stdout) if directory]
    assert written
    assert [directory for directory in written if not Path(directory).is_relative_to(tmp_path)] == []
