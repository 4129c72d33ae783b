"""A batch: prompts of a file, completed without a conversation.

One JSON object a line goes in, and one comes out for each, as they are completed. A prompt that has a result is never
asked again, so an interrupted run goes on where it ended.

There are no readers, so the calls do not stream. Each try is on the ledger like any other call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from django.conf import settings
from django.db import DatabaseError

from chat.accounting import quotas
from chat.accounting.quotas import QuotaError
from chat.accounts.model_fallbacks import find_chain, find_fallbacks
from chat.batch.input import BadLine, Item
from chat.batch.results import Result, Results
from chat.core import json_schema
from chat.core.events import Usage, describe_fallback
from chat.core.tokens import estimate_tokens
from chat.generation.background_call import BackgroundCalls, EndedCall, Request
from chat.generation.lost_calls import settle_lost_calls
from chat.generation.model_circuits import PAUSE
from chat.generation.upstream_call import LONGEST_WAIT, RENEWALS, UpstreamCall
from chat.generation.verdict import make_interruption
from chat.models import ProviderCall, Status, User
from chat.providers.adaptation_remarks import list_remarks
from chat.providers.base import Prompt
from chat.providers.registry import Pool
from chat.tasks import run_in_thread, start_detached

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """The progress of a run, in lines. The `known` ones had a result before it."""

    total: int = 0
    known: int = 0
    complete: int = 0
    failed: int = 0
    bad: int = 0

    @property
    def lines_done(self) -> int:
        """The number of lines that have a result, or were no prompts."""
        return self.known + self.complete + self.failed + self.bad


class Work:
    """Completes prompts, `concurrency` of them at a time, for `user` and within their limits, or for the site.

    `report` is called with each line when it is done.
    """

    def __init__(
        self, user: User | None, concurrency: int, report: Callable[[Item | BadLine, Result | None], None]
    ) -> None:
        self.tally = Tally()
        self._user = user
        self._concurrency = concurrency
        self._report = report
        self._pool = Pool(settings.CHAT_PROVIDERS)
        self._calls = BackgroundCalls(self._pool)
        self._not_before: dict[str, float] = {}  # by model: when its provider may be asked again

    async def run(self, items: Iterator[Item | BadLine], results: Results) -> None:
        """Work through all items that have no result. Cancelling it ends the calls under way, and settles them."""
        await run_in_thread(settle_lost_calls)
        keeping = start_detached(self._keep_rows())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._work(items, results))
        except BaseExceptionGroup as failures:  # of a full disk or a lost database the first failure says enough
            raise failures.exceptions[0] from None
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._pool.aclose()

    async def _work(self, items: Iterator[Item | BadLine], results: Results) -> None:
        for item in items:
            result = None
            if isinstance(item, BadLine):
                self.tally.bad += 1
            elif item in results:
                self.tally.known += 1
            else:
                result = await self._complete(item)
                results.add(result)
                if result.verdict.status == Status.COMPLETE:
                    self.tally.complete += 1
                else:
                    self.tally.failed += 1
            self._report(item, result)

    async def _complete(self, item: Item) -> Result:
        """Call the model until it answers or fails in a way that a retry cannot cure."""
        used = Usage(0, 0)
        models = [item.model, *await run_in_thread(self._find_fallbacks, item.model)]
        for tries in count():
            models = self._leave_out_pausing(models)
            await self._wait_for_provider(models[0])
            try:
                ended = await self._make_call(item, models, is_request=tries == 0)
            except QuotaError as error:
                log.warning("%s: %s", item.id, error.sentence)
                return Result(item, make_interruption("quota_exceeded"), usage=used)
            used += ended.used
            for failing in models[: models.index(ended.model)]:  # the next lines do not ask it either, for a while
                self._pause_model(failing, PAUSE)
            models, wait = [ended.model], None
            if ended.error is not None and tries < settings.CHAT_MAX_RETRIES:
                wait = ended.call.compute_pause_before_retry(ended.error, tries)
            if wait is None:
                return _make_result(item, ended, used)
            self._pause_model(ended.model, wait)
        raise AssertionError

    def _find_fallbacks(self, model: str) -> list[str]:
        return find_chain(model) if self._user is None else find_fallbacks(self._user.pk, model)

    def _leave_out_pausing(self, models: list[str]) -> list[str]:
        """Return the models from the first one on that its provider may be asked for now, or the last one alone."""
        now = time.monotonic()
        ready = (number for number, model in enumerate(models) if self._not_before.get(model, 0) <= now)
        return models[next(ready, len(models) - 1) :]

    def _pause_model(self, model: str, seconds: float) -> None:
        self._not_before[model] = max(time.monotonic() + seconds, self._not_before.get(model, 0))

    async def _wait_for_provider(self, model: str) -> None:
        """Wait until a provider that has refused a prompt for now wants to be asked again."""
        while (wait := self._not_before.get(model, 0) - time.monotonic()) > 0:  # noqa: ASYNC110 - a time, not an event
            await asyncio.sleep(wait)

    async def _make_call(self, item: Item, models: list[str], *, is_request: bool) -> EndedCall:
        """Ask the first of some models, and the others where it is not available.

        It waits for the end of a limit of the user's if that comes within a minute.
        """
        model, *chain = models
        request = Request(
            model,
            replace(item.prompt, model=model.partition(":")[2]),
            str(item.id),
            settings.CHAT_TOTAL_TIMEOUT,
            check=partial(_check_schema, item.prompt),
            chain=chain,
        )
        while True:
            try:
                return await self._calls.make(request, partial(open_call, self._user, item, is_request=is_request))
            except QuotaError as error:
                if error.retry_after is None or error.retry_after > LONGEST_WAIT:
                    raise
                await asyncio.sleep(error.retry_after)

    async def _keep_rows(self) -> None:
        """Renew the leases of the calls under way, and settle what a run that was killed left open."""
        while True:
            try:
                await self._calls.keep_rows()
            except DatabaseError as error:
                log.warning("the calls under way could not be kept, trying again: %s", error)
            await asyncio.sleep(settings.CHAT_LEASE / (2 * RENEWALS))


def _make_result(item: Item, ended: EndedCall, used: Usage) -> Result:
    """Return the result of a prompt, with notices of what it was asked without, and of another model that answered."""
    notices = [("adapted", remark) for remark in list_remarks(ended.call.prompt)]
    if ended.model != item.model:
        remark = describe_fallback(f"{item.model} was not available", ended.model)
        notices = [(remark.code, remark.message), *notices]
    return Result(item, ended.verdict, ended.call.text, used, notices)


async def _check_schema(prompt: Prompt, call: UpstreamCall) -> None:
    """Raise `ChatError` when the answer does not keep to its schema."""
    if prompt.response_schema is not None:
        await json_schema.check_text(call.text, prompt.response_schema)


def open_call(user: User | None, item: Item, model: str, *, is_request: bool) -> ProviderCall:
    """Write a row on the ledger for one try, and return it.

    The first one counts as a request of the user. Raises `quotas.QuotaError`.
    """
    call = ProviderCall(
        user=user,
        purpose=ProviderCall.Purpose.BATCH,
        billed_to=ProviderCall.BilledTo.USER if user else ProviderCall.BilledTo.SITE,
        model=model,
        input_tokens=estimate_tokens(item.prompt.size),
    )
    return quotas.admit(call, is_request=is_request)
