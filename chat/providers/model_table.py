"""The capabilities of each model, in four layers, each over the one before.

A table of families by name with a cautious default for unknown ones, what the provider's list of models says, what a
refusal has taught, and what the operator sets in CHAT_MODEL_OPTIONS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from chat.providers.capabilities import Capabilities
from chat.providers.model_families import find_family
from chat.providers.retirements import find_retirement

# The option that names the model which another name stands for, such as that of a deployment at Azure.
FAMILY = "family"

# `claude-sonnet-4-5-20250929`, `us-gov.anthropic.claude-…-v1:0`, `claude-…@20250929`, `openai/gpt-5.4-mini-2026-03-17`.
_VENDOR = re.compile(r"^(?:.*/)?(?:(?:[a-z-]{2,10}\.)?anthropic\.)?")
_SNAPSHOT = re.compile(r"(?:[-@]\d{8}|@[a-z]+|-\d{4}-\d{2}-\d{2})?(?:-v\d+(?::\d+)?)?$")
# `ft:gpt-4.1-mini-2025-04-14:acme::abc`, a model that was trained further.
_TRAINED = re.compile(r"^ft:([^:]+):.*$")
# `claude-sonnet-5.5:thinking` (OpenRouter), `claude-sonnet-5-5[1m]`: the same model, asked in another way.
_VARIANT = re.compile(r"(?::[a-z]+|\[\d+[km]\])$")
_LATEST = re.compile(r"-latest$")
_VERSION_DOT = re.compile(r"(?<=\d)\.(?=\d)")

_OWN_HOSTS = {
    "anthropic": re.compile(r"(^|\.)anthropic\.com$"),
    "openai": re.compile(r"(^|\.)(openai\.com|openai\.azure\.com|services\.ai\.azure\.com)$"),
}


def is_own_server(provider: str, server: str) -> bool:
    """Return whether the address is the provider's own, as it is when none is given. Azure serves OpenAI's API."""
    own = _OWN_HOSTS.get(provider)
    return not server or (own is not None and own.search(urlsplit(server).hostname or "") is not None)


@lru_cache(1024)
def find_capabilities(provider: str, model: str, server: str = "") -> Capabilities:
    """Return what the table says about a provider's model, asked at the address `server`.

    Where that is empty, the address is the provider's own.
    """
    name = _simplify_name(model)
    found = find_family(provider, name, is_own_server=is_own_server(provider, server))
    day, successor = find_retirement(provider, model, name)
    return replace(found, retires_on=day, successor=successor) if day else found


def _simplify_name(model: str) -> str:
    """Return the model's name without its vendor, its variant, and the date of a snapshot."""
    name = _TRAINED.sub(r"\1", model.lower())
    name = _SNAPSHOT.sub("", _VARIANT.sub("", _VENDOR.sub("", name)))
    if name.startswith("claude"):
        return _LATEST.sub("", _VERSION_DOT.sub("-", name))
    return re.sub("^gpt-35", "gpt-3.5", name)  # so Azure writes it


@dataclass
class CapabilityRegistry:
    """The models' capabilities in layers. A layer maps a model to the fields that it knows better.

    `options` has `provider:model` keys. `listed` is filled from the providers' lists of models, by provider, address
    and model.
    """

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    listed: dict[tuple[str, str, str], Mapping[str, Any]] = field(default_factory=dict)

    def find_capabilities(
        self, provider: str, model: str, server: str = "", learnt: Mapping[str, Any] | None = None
    ) -> Capabilities:
        """Return what is known of a model in all; `learnt` is what refusals have taught about it."""
        options = dict(self.options.get(f"{provider}:{model}", ()))
        found = find_capabilities(provider, options.pop(FAMILY, model), server)
        layers = (self.listed.get((provider, server, model)), learnt, options)
        for layer in layers:
            if layer:
                found = replace(found, **layer)
        return found
