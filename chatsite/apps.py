"""The site as an app of Django's, for the checks of `manage.py` besides models and templates."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from chatsite.env import refuse


class SiteConfig(AppConfig):
    """Adds the site's tools and its database to the checks."""

    name = "chatsite"

    def ready(self) -> None:
        checks.register(check_tools)
        checks.register(check_encoding, checks.Tags.database)


def check_tools(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Stop a command that checks the site as a server's start is stopped, with the same line."""
    refuse_bad_tools()
    return []


def check_encoding(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Return an error for a new PostgreSQL database that cannot keep every text, and a warning for one in use.

    `manage.py migrate` asks for it. A cluster that was made without a locale makes such databases.
    """
    if not databases or connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        encoding = cursor.fetchone()[0]
    if encoding == "UTF8":
        return []
    kind = checks.Warning if MigrationRecorder(connection).has_table() else checks.Error
    what = f"The database's encoding is {encoding}: texts with other characters are refused, or cut within one."
    how = "Make it with `createdb --encoding=UTF8 --locale=C --template=template0`, see docs/deploy.md."
    return [kind(what, how, id="chatsite.E001")]


def refuse_bad_tools() -> None:
    """Import the tools that the settings name, and stop the start if one of them cannot be used."""
    # Half a second of imports, which commands that check nothing do not pay.
    from chat.tools.base import ToolError  # noqa: PLC0415
    from chat.tools.toolbox import Toolbox  # noqa: PLC0415

    for name, toolbox in (("CHAT_TOOLS", Toolbox(settings.CHAT_TOOLS)), ("CHAT_MCP", Toolbox([], settings.CHAT_MCP))):
        try:
            toolbox.check()
        except ToolError as error:
            refuse(name, f"cannot be used: {' '.join(str(error).split())}")
