"""The title of a conversation, written by a cheap model after the first answer; without it, one by rules."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from chat.accounting import quotas
from chat.accounts.model_fallbacks import find_chain
from chat.conversations.titles_by_rule import cut_at_word, make_title
from chat.core.errors import RefusedError
from chat.core.events import make_storable
from chat.core.lines import join_lines
from chat.core.tokens import estimate_tokens
from chat.generation.background_call import BackgroundCalls, EndedCall, Request
from chat.generation.notifications import Notices
from chat.generation.title_text import extract_title
from chat.models import TITLE_LENGTH, Conversation, Message, ProviderCall, Status, TitledBy
from chat.providers.base import Prompt, Turn
from chat.tasks import run_in_thread

log = logging.getLogger(__name__)

INSTRUCTIONS = (
    "Write a title for the conversation that begins like this: at most six words, in its own language, without "
    "quotation marks. Answer with the title alone."
)

# Characters of the question, and of the answer, that are enough to know what they are about.
EXCERPT_CHARS = 2_000

# Seconds after which a title is given up.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class TitleRequest:
    """A conversation whose title is still one by rules, and what to ask for it."""

    conversation: Conversation
    answer_id: UUID
    prompt: Prompt


async def write_title(answer_id: str, background: BackgroundCalls, notices: Notices) -> None:
    """Write the title of the conversation that begins with this answer. Nothing is raised: it is a convenience."""
    try:
        if (request := await run_in_thread(find_untitled, answer_id)) is None:
            return
        call = Request(
            settings.CHAT_TITLE_MODEL,
            request.prompt,
            f"conversation {request.conversation.pk}: no title",
            min(PATIENCE, settings.CHAT_TOTAL_TIMEOUT),
            chain=await run_in_thread(find_chain, settings.CHAT_TITLE_MODEL),
        )
        ended = await background.make(call, partial(open_call, request))
        title = await run_in_thread(keep_title, request, ended)
    except RefusedError:
        return
    except DatabaseError as error:  # the answer may be deleted meanwhile, and the database away
        log.warning("answer %s: no title: %s", answer_id, error)
        return
    if title:
        conversation = request.conversation
        notice = {"type": "title", "conversation": str(conversation.pk), "title": title}
        notices.tell_user(conversation.user_id, notice)


def find_untitled(answer_id: str) -> TitleRequest | None:
    """Return what to ask for a title, or None when there is none to be written."""
    answer = Message.objects.select_related("conversation", "parent").filter(pk=answer_id).first()
    if answer is None or answer.parent is None:
        return None
    question, conversation = answer.parent, answer.conversation
    if conversation.titled_by != TitledBy.RULE or conversation.title != make_title(question.text):
        return None
    excerpt = f"Question: {question.text[:EXCERPT_CHARS]}\n\nAnswer: {answer.text[:EXCERPT_CHARS]}"
    name = settings.CHAT_TITLE_MODEL.partition(":")[2]
    prompt = Prompt(name, (Turn("system", INSTRUCTIONS), Turn("user", excerpt)), max_output_tokens=40, effort="none")
    return TitleRequest(conversation, answer.pk, prompt)


def open_call(request: TitleRequest, model: str) -> ProviderCall:
    """Write the call's row on the ledger. Raises `quotas.QuotaError`."""
    row = ProviderCall(
        user_id=request.conversation.user_id,
        answer_id=request.answer_id,
        purpose=ProviderCall.Purpose.TITLE,
        model=model,
        input_tokens=estimate_tokens(request.prompt.size),
    )
    return quotas.admit(row, is_request=False)


def keep_title(request: TitleRequest, ended: EndedCall) -> str:
    """Keep the title unless the conversation has been given another one; return what was kept."""
    if ended.verdict.status != Status.COMPLETE:
        return ""
    title = cut_at_word(join_lines(extract_title(make_storable(ended.call.text))), TITLE_LENGTH)
    untouched = Conversation.objects.filter(
        pk=request.conversation.pk, title=request.conversation.title, titled_by=TitledBy.RULE
    )
    return title if title and untouched.update(title=title, titled_by=TitledBy.MODEL) else ""
