"""The log lines that docs/deploy.md and docs/monitoring.md tell operators to look for are written by the code."""

from __future__ import annotations

import re

from tests.chatsite.test_names_of_functions import ROOT

DOCUMENTS = ("docs/deploy.md", "docs/monitoring.md")

# Four plain words or more in backticks; commands and settings are shorter, or have signs in them.
LOG_LINE = re.compile(r"`([A-Za-z][a-z]*(?:,? [A-Za-z][a-z]*){3,})`")


def test_each_log_line_that_is_named_is_written_somewhere() -> None:
    named = [line for name in DOCUMENTS for line in LOG_LINE.findall((ROOT / name).read_text(encoding="utf-8"))]
    sources = [path for package in ("chat", "chatsite") for path in (ROOT / package).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert len(named) >= 4
    assert [line for line in named if line not in code] == []
