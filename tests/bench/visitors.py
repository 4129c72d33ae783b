"""Fills a site's database for a bench: users with tokens, sessions and conversations, as JSON on the output.

Runs in the site's environment: `python -m tests.bench.visitors 20 200 0 1` for 20 users, 200 conversations, no turns,
and, with the 1, a budget of the site's.
"""

# ruff: noqa: E402 - Django's models can be imported when it is set up
from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from uuid import uuid4

import django

django.setup()

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone

from chat.models import ApiToken, Budget, Conversation, Message, Role, User
from tests.bench.client import Visitor
from tests.bench.provider import MARKDOWN

ANSWER = MARKDOWN.partition("\n\n| ")[0]


def make_session(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]  # the one that a login tries first
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def make(users: int, conversations: int, turns: int) -> list[Visitor]:
    """Make conversations with so many turns each, spread evenly over the users."""
    visitors = []
    names = [f"{uuid4()}" for _ in range(users)]
    made = [User.objects.create(username=name, password="!") for name in names]
    known = [(user, ApiToken.issue(user, "bench"), make_session(user)) for user in made]
    for number in range(conversations):
        user, token, session = known[number % users]
        conversation = Conversation.objects.create(user=user, title="Why is the sky blue?")
        talk(conversation, turns)
        visitors.append(Visitor(str(conversation.pk), token, session))
    return visitors


def talk(conversation: Conversation, turns: int) -> None:
    begun = timezone.now() - timedelta(days=1)
    said: list[Message] = []
    for number in range(turns):
        parent = said[-1] if said else None
        question = Message(conversation=conversation, parent=parent, role=Role.USER, text=f"{number}. Why?")
        answer = Message(
            conversation=conversation,
            parent=question,
            role=Role.ASSISTANT,
            text=ANSWER,
            position=len(ANSWER),
            finish_reason="stop",
            model="openai:m",
            first_token_at=begun,
            finished_at=begun,
        )
        said += [question, answer]
    Message.objects.bulk_create(said, batch_size=200)
    for place, message in enumerate(said):
        message.created_at = begun + timedelta(seconds=place)
    Message.objects.bulk_update(said, ["created_at"], batch_size=200)
    if said:
        conversation.leaf = said[-1]
        conversation.save()


if __name__ == "__main__":
    wanted = list(map(int, sys.argv[1:5]))
    if wanted.pop():  # a budget in which each question of each user is counted
        Budget.objects.get_or_create(name="Site", defaults={"scope": "site", "tokens": 10**12, "cost": 10**6})
    print(json.dumps([asdict(visitor) for visitor in make(*wanted)]))
