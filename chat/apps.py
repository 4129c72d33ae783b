"""The chat as an app of Django's."""

from typing import Any

from django.apps import AppConfig
from django.core import checks


class ChatConfig(AppConfig):
    """The app's name and the kind of its primary keys."""

    name = "chat"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        checks.register(check_retirements)


def check_retirements(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Return a warning for each of the site's models that is switched off soon, or has been."""
    from chat.accounts.model_registry import list_retirement_notices  # noqa: PLC0415 - the apps are not ready before

    return [checks.Warning(notice.sentence, id="chat.W001") for notice in list_retirement_notices()]
