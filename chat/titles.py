"""The title of a conversation, written by a cheap model after its first answer. Until then, and when that fails, it is
the first question."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.conf import settings

from chat import quotas
from chat.answers import Verdict, interrupted, settle_call
from chat.background import in_thread
from chat.calls import Call
from chat.errors import ChatError, RefusedError
from chat.events import storable
from chat.models import TITLE_LENGTH, Conversation, Message, ProviderCall, Status
from chat.notices import Notices
from chat.providers import Pool, Prompt, Turn
from chat.turns import title_of
from chat.usage import estimate_tokens

log = logging.getLogger(__name__)

TOLD = (
    "Write a title for the conversation that begins like this: at most six words, in its own language, without "
    "quotation marks. Answer with the title alone."
)

# So much of the question and of the answer is enough to know what they are about.
READ_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A conversation whose title is still its first question."""

    conversation: Conversation
    call: Call


async def write_title(answer_id: str, pool: Pool, notices: Notices) -> None:
    """Write the title of the conversation that begins with this answer. Nothing is raised: it is a convenience."""
    try:
        wanted = await in_thread(want, answer_id)
    except RefusedError:
        return
    if wanted is None:
        return
    verdict = await _ask(wanted, pool)
    title = await in_thread(keep, wanted, verdict)
    if title:
        conversation = wanted.conversation
        notice = {"type": "title", "conversation": str(conversation.pk), "title": title}
        notices.tell_user(conversation.user_id, notice)


async def _ask(wanted: Wanted, pool: Pool) -> Verdict:
    try:
        provider = pool.get(settings.CHAT_TITLE_MODEL.partition(":")[0])
        wanted.call.take(await provider.complete(wanted.call.prompt))
    except ChatError as error:
        wanted.call.fail(error)
        log.warning("conversation %s: no title: %s", wanted.conversation.pk, error.code)
        return interrupted(error.code)
    return Verdict(Status.COMPLETE, "stop")


def want(answer_id: str) -> Wanted | None:
    """The title to be written, with its row on the ledger, or None. Raises `quotas.QuotaError`."""
    answer = Message.objects.select_related("conversation", "parent").get(pk=answer_id)
    question, conversation = answer.parent, answer.conversation
    if question is None or question.parent_id is not None or conversation.title != title_of(question.text):
        return None
    said = f"Question: {question.text[:READ_CHARS]}\n\nAnswer: {answer.text[:READ_CHARS]}"
    name = settings.CHAT_TITLE_MODEL.partition(":")[2]
    prompt = Prompt(name, (Turn("system", TOLD), Turn("user", said)), max_output_tokens=40)
    row = ProviderCall(
        user_id=conversation.user_id,
        answer_id=answer.pk,
        purpose=ProviderCall.Purpose.TITLE,
        model=settings.CHAT_TITLE_MODEL,
        input_tokens=estimate_tokens(prompt.size),
    )
    return Wanted(conversation, Call(quotas.admit(row, is_request=False), prompt))


def keep(wanted: Wanted, verdict: Verdict) -> str:
    """Settle the call, and keep the title unless the conversation has been given another one; what was kept."""
    settle_call(wanted.call.bill, verdict)
    title = title_of(storable(wanted.call.text).strip().strip("\"'“”«»")) if verdict.status == Status.COMPLETE else ""
    untouched = Conversation.objects.filter(pk=wanted.conversation.pk, title=wanted.conversation.title)
    return title if title and untouched.update(title=title[:TITLE_LENGTH]) else ""
