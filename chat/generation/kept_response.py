"""Ending a response that its provider keeps, once nobody follows it any more."""

from __future__ import annotations

import asyncio
import logging

from chat.core.errors import ChatError
from chat.core.events import Bookmark, Usage
from chat.providers.base import Prompt, ResumableProvider
from chat.providers.registry import Pool, UnknownProviderError

log = logging.getLogger(__name__)

# Seconds for which an end waits for its response to be cancelled at the provider.
CANCEL_FOR = 2.0


async def cancel_response(pool: Pool, model: str, prompt: Prompt, bookmark: Bookmark) -> Usage | None:
    """Have the provider of a `provider:model` end a response, and return its figures, where it reports them.

    A failure is logged and not raised: it costs no more than the rest of the response.
    """
    try:
        async with asyncio.timeout(CANCEL_FOR):
            provider = pool.get(model.partition(":")[0])
            return await provider.cancel(prompt, bookmark) if isinstance(provider, ResumableProvider) else None
    except (ChatError, TimeoutError, UnknownProviderError) as error:
        log.warning("response %s could not be cancelled: %s", bookmark.id, error)
        return None
