"""Fallbacks: the models that are asked where one is not available, before the first word of an answer.

An answer keeps its model once its readers have a word of it. It also keeps it after a failure that another model would
not prevent: a refusal, a content filter, a malformed request, a limit of the user's.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from django.conf import settings
from django.db import transaction

from chat.accounting.quotas import BudgetError, lock_meters, note_refusal
from chat.conversations import refusals
from chat.conversations.context_window import find_context_window
from chat.conversations.prompts import build_prompt
from chat.core.errors import ChatError
from chat.core.events import Remark, describe_fallback
from chat.core.failures import Cause
from chat.core.transcript import Transcript
from chat.generation import store
from chat.generation.store import AnswerSnapshot, CallResult
from chat.generation.verdict import make_interruption
from chat.models import Message, ProviderCall
from chat.providers.base import Prompt

# Causes for which the model, its provider or the connection to it is to blame, and not the request.
_UNAVAILABLE = {
    *(Cause.CONNECTION, Cause.STATUS, Cause.REPORTED, Cause.BROKEN_STREAM, Cause.BAD_ANSWER, Cause.TIMEOUT),
    *(Cause.RATE_LIMIT, Cause.BUDGET, Cause.KEY, Cause.SKIPPED),
}
_NO_SUCH_MODEL = re.compile("model_?not_?(found|available|supported)|unknown_?model|deployment_?not_?found")


class Fallback(NamedTuple):
    """The call that is made instead: its prompt, its row on the ledger, and the answer's transcript so far."""

    call: ProviderCall
    prompt: Prompt
    transcript: Transcript


def is_unavailable(error: ChatError) -> bool:
    """Return whether a failure says that the model cannot be had now, whatever it is asked."""
    if error.cause == Cause.REFUSED_FORM:
        return error.report.status in (404, 410) or _NO_SUCH_MODEL.search(error.report.kind) is not None
    return error.cause in _UNAVAILABLE


def may_ask_another(error: ChatError, transcript: Transcript) -> bool:
    """Return whether another model may be asked after this failure: readers have nothing but remarks of the site's."""
    is_begun = any(not isinstance(event, Remark) for event in transcript.read_since(0))
    return not is_begun and (is_unavailable(error) or error.code == "context_length")


def is_fit(instead: str, model: str, error: ChatError) -> bool:
    """Return whether the model `instead` may take the place of `model` after this failure.

    A conversation that was too long for `model` is asked only of one that is known to have a larger window.
    """
    if error.code != "context_length":
        return True
    window, wanted = _find_known_window(model), _find_known_window(instead)
    return wanted is not None and window is not None and wanted > window


def _find_known_window(model: str) -> int | None:
    return find_context_window(
        model, settings.CHAT_CONTEXT_WINDOWS, refusals.find_known_capabilities(model).context_window
    )


def ask_instead(snapshot: AnswerSnapshot, result: CallResult, error: ChatError, model: str) -> Fallback:
    """Settle the call of a model that was not available, and open one of another model in its place, or do nothing.

    Both happen in one transaction, so what the first call held of limits is free for the second. The prompt is built
    again, as each model has its own window, effort, tools and native form. Call this with the tools that models are
    offered, see `offered_tools.store_with_tools`. Raises `QuotaError`, and `ChatError` when the answer is not ours any
    more.
    """
    try:
        with transaction.atomic():
            answers = Message.objects.live().select_related("conversation__user", "parent__conversation")
            answer = answers.filter(pk=snapshot.id, fence=snapshot.fence).first()
            if answer is None or answer.parent is None or not store.keep(snapshot):
                raise ChatError("server_lost", "another process has taken the answer over")
            lock_meters(result.call, model)
            store.settle_call(result, make_interruption(error.code))
            prompt, omitted = build_prompt(answer.parent, model, response_schema=answer.response_schema)
            Message.objects.filter(pk=answer.pk).update(
                model=model,
                asked_model=answer.wanted_model,
                effort=prompt.capabilities.choose_effort(prompt.effort),
                omitted=omitted,
            )
            transcript = Transcript.restore(snapshot.text, snapshot.reasoning, snapshot.outline)
            transcript.append([describe_fallback(f"{result.call.model} was not available", model)])
            call = store.open_call(answer.pk, prompt.size, transcript.position)
            store.keep(AnswerSnapshot.from_transcript(answer.pk, answer.fence, transcript, snapshot.first_token_at))
            return Fallback(call, prompt, transcript)
    except BudgetError as refusal:
        note_refusal(refusal)
        raise
