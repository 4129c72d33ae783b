"""The providers' lists of the models that they serve, asked for at the start and once a day, in the background."""

from __future__ import annotations

import asyncio
import logging

from django.conf import settings

from chat.accounts.model_registry import keep_list, list_retirement_notices
from chat.core.errors import ChatError
from chat.providers.registry import Pool, UnknownProviderError

log = logging.getLogger(__name__)

# Seconds between two requests for the lists.
DAY = 86_400.0

# Seconds until a server that did not list its models is asked again, if the site offers the models on its list: the
# server may be started after the site.
RETRY = 30.0


async def keep_lists(pool: Pool) -> None:
    """Ask for the lists now and once a day, for ever, and say which of the site's models are leaving."""
    while True:
        missing = await ask_for_lists(pool)
        for notice in list_retirement_notices():
            log.warning("%s", notice.sentence)
        await asyncio.sleep(RETRY if missing & settings.CHAT_LISTED_MODELS.keys() else DAY)


async def ask_for_lists(pool: Pool) -> set[str]:
    """Ask each provider that the site uses for its models, and return the providers that did not list any.

    What was known of those stays as it was.
    """
    missing = set()
    models = [*settings.CHAT_MODELS, settings.CHAT_TITLE_MODEL]
    providers = sorted({model.partition(":")[0] for model in models if model} - {"demo"})
    for provider in providers:
        try:
            entries = await pool.get(provider).list_models()
        except (ChatError, UnknownProviderError) as error:
            log.info("%s did not list its models: %s", provider, error)
            entries = {}
        if entries:
            keep_list(provider, entries)
        else:
            missing.add(provider)
    return missing
