"""Lessons from refusals: the models that need an adapted request, since when, and why.

They are kept in the database, for every process, and read at most every few seconds. Only an adaptation that got an
answer is kept, for CHAT_REFUSAL_MEMORY seconds: then the server gets the usual request again, as it may have changed;
at once when an administrator deletes the refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple, TypeAlias

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from chat.accounts.model_registry import find_capabilities
from chat.models import Refusal
from chat.providers.adaptation_remarks import KINDS
from chat.providers.base import Adaptation, Prompt
from chat.providers.capabilities import Capabilities
from chat.providers.known_limits import adapt_to_limits, find_learnt_fields
from chat.site_facts import SiteFact


class Lesson(NamedTuple):
    """An adaptation, and the words of the refusal that it answered."""

    adaptation: Adaptation
    detail: str


def list_kept_refusals() -> QuerySet[Refusal]:
    """Return the refusals that still count, also those of servers that are not configured any more.

    While a site is updated, processes of the next release may have learnt what this one does not know how to do.
    """
    since = timezone.now() - timedelta(seconds=settings.CHAT_REFUSAL_MEMORY)
    return Refusal.objects.filter(kind__in=KINDS, learnt_at__gt=since)


# Adaptations by the model and the server that refused to be asked without them.
Lessons: TypeAlias = dict[tuple[str, str], tuple[Adaptation, ...]]


def _read_lessons() -> Lessons:
    found: Lessons = {}
    for refusal in list_kept_refusals():
        key = refusal.model, refusal.server
        found[key] = (*found.get(key, ()), refusal.adaptation)
    return found


_lessons = SiteFact("refusals", _read_lessons)


def hash_server(model: str) -> str:
    """Return a digest of the address that a `provider:model` is asked at; the address itself may hold a password."""
    address = settings.CHAT_PROVIDERS.get(model.partition(":")[0], {}).get("base_url")
    return sha256(str(address).encode()).hexdigest()[:16] if address else ""


def _find_lessons(model: str) -> tuple[Adaptation, ...]:
    """Return the adaptations that a `provider:model` needs because it refused a request without them. It may query."""
    if not settings.CHAT_REFUSAL_MEMORY:
        return ()
    return _lessons.get().get((model, hash_server(model)), ())


def find_known_capabilities(model: str) -> Capabilities:
    """Return what is known of a `provider:model` at the address where the site asks it. Call it in a thread."""
    takes = find_capabilities(model, find_learnt_fields(_find_lessons(model)))
    api = settings.CHAT_PROVIDERS.get(model.partition(":")[0], {}).get("api", "auto")
    return takes if api == "auto" else replace(takes, api=api)


def apply_lessons(prompt: Prompt, model: str) -> Prompt:
    """Return the prompt with the capabilities of this `provider:model`, and adapted to what it is known to refuse.

    Call it in a thread: it may query the database.
    """
    learnt = _find_lessons(model)
    provider = settings.CHAT_PROVIDERS.get(model.partition(":")[0], {})
    takes = find_known_capabilities(model)
    if provider.get("thinking_tokens") and takes.thinking == "budget" and prompt.temperature is not None:
        learnt = (*learnt, Adaptation("no_temperature"))  # Anthropic takes none with thinking
    return adapt_to_limits(replace(prompt, capabilities=takes, adaptations=learnt))


def remember(model: str, lessons: Sequence[Lesson]) -> None:
    """Keep what was learnt about a `provider:model`, and delete lessons that are too old. Call it in a thread."""
    if not settings.CHAT_REFUSAL_MEMORY:
        return
    now = timezone.now()
    Refusal.objects.filter(learnt_at__lte=now - timedelta(seconds=settings.CHAT_REFUSAL_MEMORY)).delete()
    for adaptation, detail in lessons:
        Refusal.objects.update_or_create(
            model=model,
            server=hash_server(model),
            kind=adaptation.kind,
            name=adaptation.name,
            defaults={"value": adaptation.value, "detail": detail[:300], "learnt_at": now},
        )
    _lessons.forget()


def forget(pk: int) -> Refusal | None:
    """Forget one refusal and return it; None when it is not there. Other processes notice within seconds."""
    refusal = Refusal.objects.filter(pk=pk).first()
    if refusal is not None:
        Refusal.objects.filter(pk=pk).delete()
        _lessons.forget()
    return refusal
