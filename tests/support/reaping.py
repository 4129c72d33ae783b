"""The command that settles what lost processes left."""

from __future__ import annotations

import io

from django.core.management import call_command


def reap(*arguments: str) -> str:
    out = io.StringIO()
    call_command("reap", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue().strip()
