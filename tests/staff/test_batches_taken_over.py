"""A process that has lost its batch to another one changes nothing of what that one has done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from pytest_django import Settings

from chat.conversations import actions
from chat.conversations.turn_refusals import BusyError
from chat.generation.admission import OverloadedError
from chat.models import Message, RetryBatch, RetryItem
from tests.provider_server import ProviderServer, Script
from tests.staff.outages import make_outage, retry
from tests.support.site import Site
from tests.support.waiting import wait_until


@pytest.mark.parametrize("refusal", [BusyError(), OverloadedError(2)])
async def test_an_item_that_another_process_has_ended_does_not_wait_for_ever(
    refusal: Exception, desk: Site, provider: ProviderServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer would be in a batch for good, and no other batch could take it."""
    settings.CHAT_STAFF_RETRIES = 1
    provider.script = Script(text="Yes.")
    [lost] = await sync_to_async(make_outage)(1, code="timeout")
    await sync_to_async(make_outage)(1, code="upstream_error")
    begin: Callable[..., Awaitable[Message]] = actions.retry_on_behalf

    async def lose_batch(runner: Any, by: Any, answer: Message, *others: Any, **options: Any) -> Message:
        """End the first batch as another process does that took it over, before this one is refused."""
        if answer.pk != lost.pk:
            return await begin(runner, by, answer, *others, **options)
        await RetryItem.objects.filter(answer=answer).aupdate(status="complete")
        await RetryBatch.objects.all().aupdate(finished_at=timezone.now(), owner="", lease_until=None)
        await retry(desk, code="upstream_error")
        raise refusal

    monkeypatch.setattr(actions, "retry_on_behalf", lose_batch)
    batch = await retry(desk, code="timeout")
    await wait_until(RetryBatch.objects.exclude(pk=batch.pk).filter(finished_at__isnull=False).aexists)
    # With one slot, the turn of the second batch came when the first one's item was done with.
    assert (await batch.items.aget()).status == "complete"
