"""The chat page names every module that its script needs, so that none is found only after another has come."""

from __future__ import annotations

import re
from pathlib import Path

from django.test import Client

from chat.models import User
from chat.templatetags.modules import find_modules
from tests.support.server import ROOT


def test_every_module_is_used_and_asked_for_by_the_page_itself(client: Client, user: User) -> None:
    client.force_login(user)
    page = client.get("/").text
    named = re.findall(r'<link rel="modulepreload" href="/static/[0-9a-f]{12}/(chat/[a-z_]+\.js)">', page)
    assert list(find_modules(("chat/chat.js",))) == named
    # Those of shared pages and of the admin, and what is no module because it is run before the first paint.
    entries = ("chat/chat.js", "chat/shared.js", "chat/first.js", "chat/admin_names.js")
    used = set(find_modules(entries, on_demand=True))
    assert {f"chat/{path.name}" for path in (ROOT / "static/chat").glob("*.js")} == used


def test_every_module_says_what_it_is_about() -> None:
    for path in sorted(Path(ROOT / "static/chat").glob("*.js")):
        assert path.read_text("utf-8").startswith("// "), path.name
