"""Conversations of many turns."""

from __future__ import annotations

from chat.models import Conversation, Message
from chat.providers.base import Turn
from tests.support.site import Site


def make_conversation(turns: int, chars: int = 400) -> tuple[Turn, ...]:
    pairs = ((Turn("user", f"{n}?".ljust(chars)), Turn("assistant", f"{n}.".ljust(chars))) for n in range(turns))
    return (Turn("system", "Be brief."), *(turn for pair in pairs for turn in pair), Turn("user", "And now?"))


def fill_conversation(site: Site, turns: int) -> str:
    """Make a conversation of so many turns, as the site would have kept it; return its id."""
    conversation = Conversation.objects.create(user=site.user, title="Long")
    leaf = None
    for turn in make_conversation(turns)[1:-1]:
        leaf = Message.objects.create(
            conversation=conversation,
            parent=leaf,
            role=turn.role,
            text=turn.content,
            model="openai:gpt-test" if turn.role == "assistant" else "",
            position=len(turn.content) if turn.role == "assistant" else 0,
        )
    Conversation.objects.filter(pk=conversation.pk).update(leaf=leaf)
    return str(conversation.pk)
