"""The knowledge of this process about models: the table, the providers' lists, and the operator's options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.utils import timezone

from chat.providers.capabilities import Capabilities
from chat.providers.model_families import DEFAULT_MODELS
from chat.providers.model_lists import list_chat_models, read_fields
from chat.providers.model_table import CapabilityRegistry, is_own_server

# Admins are warned so long before a model is switched off.
WARN_BEFORE = timedelta(days=60)

# Models of a server that a site offers without being told which.
MAX_OFFERED = 50

_listed: dict[tuple[str, str, str], Mapping[str, Any]] = {}
_servers: set[tuple[str, str]] = set()  # the providers and addresses that have listed what they serve


def get_registry() -> CapabilityRegistry:
    """Return the registry with the current settings and what the providers have listed so far."""
    return CapabilityRegistry(settings.CHAT_MODEL_OPTIONS, _listed)


def find_address(provider: str) -> str:
    """Return the address where a provider is asked; empty for its own."""
    return str(settings.CHAT_PROVIDERS.get(provider, {}).get("base_url") or "")


def find_capabilities(model: str, learnt: Mapping[str, Any] | None = None) -> Capabilities:
    """Return what is known of a `provider:model`; `learnt` is what refusals have taught."""
    provider, _, name = model.partition(":")
    return get_registry().find_capabilities(provider, name, find_address(provider), learnt)


def keep_list(provider: str, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep what a provider lists in the place of what it listed before.

    Where the site was told no models, it offers those that the server lists.
    """
    server = find_address(provider)
    for key in [key for key in _listed if key[:2] == (provider, server)]:
        del _listed[key]
    _listed.update({(provider, server, name): read_fields(entry) for name, entry in entries.items()})
    _servers.add((provider, server))
    default = settings.CHAT_LISTED_MODELS.get(provider)
    if default and default in settings.CHAT_MODELS:
        names = [f"{provider}:{name}" for name in list_chat_models(entries)][:MAX_OFFERED]
        if names and default not in names:
            place = settings.CHAT_MODELS.index(default)
            settings.CHAT_MODELS[place : place + 1] = names


def forget_lists() -> None:
    """Forget what providers have listed."""
    _listed.clear()
    _servers.clear()


def is_retired(model: str, today: date | None = None) -> bool:
    """Return whether a `provider:model` has been switched off.

    Other servers than the provider's own may serve it for longer: there it counts as retired when they do not list it.
    """
    if not find_capabilities(model).is_retired(today or timezone.now().date()):
        return False
    provider, _, name = model.partition(":")
    server = find_address(provider)
    is_own = is_own_server(provider, server) or f"{provider}:{name}" in settings.CHAT_MODEL_OPTIONS
    return is_own or ((provider, server) in _servers and (provider, server, name) not in _listed)


def list_offered_models() -> list[str]:
    """Return the site's models that are still served, the default first. Where none is, it is their successors."""
    configured: list[str] = settings.CHAT_MODELS
    served = [model for model in configured if not is_retired(model)]
    if served:
        return configured if len(served) == len(configured) else served
    successors = [f"{model.partition(':')[0]}:{find_capabilities(model).successor}" for model in configured]
    return list(dict.fromkeys(name for name in successors if not name.endswith(":"))) or configured


def describe_models() -> str:
    """Return the site's models as words for its operator, who may have named none but the address of a server."""
    listed = {
        default: f"the models that {provider.upper()}_BASE_URL lists"
        for provider, default in _find_unlisted_providers()
    }
    return ", ".join(listed.get(model, model) for model in settings.CHAT_MODELS)


def _find_unlisted_providers() -> Iterable[tuple[str, str]]:
    """Return the providers, each with its default model, whose server has not listed its models yet."""
    defaults: Mapping[str, str] = settings.CHAT_LISTED_MODELS
    return [(name, model) for name, model in defaults.items() if (name, find_address(name)) not in _servers]


class RetirementNotice(NamedTuple):
    """A model of the site's that is switched off soon, or has been."""

    model: str
    day: date
    successor: str
    is_retired: bool
    substitute: str = ""
    """Another model that could take its place, where its provider names none."""

    @property
    def sentence(self) -> str:
        """The day on which the model is retired, and the successor that its provider recommends."""
        instead = ""
        if self.successor:
            instead = f" Its provider recommends {self.successor}."
        elif self.substitute:
            instead = f" No successor is known; {self.substitute} could take its place."
        if self.day == date.min:
            return f"{self.model} has been retired.{instead}"
        if self.is_retired:
            return f"{self.model} was retired on {self.day:%-d %B %Y}.{instead}"
        return f"{self.model} will be retired on {self.day:%-d %B %Y}.{instead}"


def list_retirement_notices(today: date | None = None) -> list[RetirementNotice]:
    """Return a notice for each configured model that leaves within 60 days or has left, the soonest first."""
    day = today or timezone.now().date()
    notices = []
    for model in dict.fromkeys([*settings.CHAT_MODELS, settings.CHAT_TITLE_MODEL]):
        takes = find_capabilities(model)
        leaves = takes.retires_on
        if model and leaves is not None and (leaves <= day or leaves - day <= WARN_BEFORE):
            successor = takes.successor and f"{model.partition(':')[0]}:{takes.successor}"
            substitute = "" if successor else _find_substitute(model)
            notices.append(RetirementNotice(model, leaves, successor, is_retired(model, day), substitute))
    return sorted(notices, key=lambda notice: notice.day)


def _find_substitute(model: str) -> str:
    """Return a model that stays: the site's of the same provider first, then that one's default; "" for none."""
    provider, _, _ = model.partition(":")
    offered: list[str] = settings.CHAT_MODELS
    siblings = [name for name in offered if name.startswith(f"{provider}:")]
    default = [f"{provider}:{DEFAULT_MODELS[provider]}"] if provider in DEFAULT_MODELS else []
    candidates = [*siblings, *default, *offered]
    return next((name for name in candidates if name != model and find_capabilities(name).retires_on is None), "")
