"""The site as an app of Django's, for the checks of `manage.py check` besides models and templates."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, register

from chatsite.env import refuse


class SiteConfig(AppConfig):
    """Adds the site's tools to the checks."""

    name = "chatsite"

    def ready(self) -> None:
        register(check_tools)


def check_tools(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Stop a command that checks the site as a server's start is stopped, with the same line."""
    refuse_bad_tools()
    return []


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
