"""The providers by name. A provider is a class and one dotted path in `PROVIDERS`, imported on first use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from chat.providers.base import Provider

PROVIDERS: dict[str, str] = {
    "openai": "chat.providers.openai_provider.OpenAIProvider",
    "anthropic": "chat.providers.anthropic.AnthropicProvider",
    "demo": "chat.providers.demo.DemoProvider",
}


class UnknownProviderError(LookupError):
    """A model names a provider that is not in `PROVIDERS`."""


class Pool:
    """The providers of one event loop, each made on first use: an HTTP client cannot change its loop."""

    def __init__(self, configuration: Mapping[str, Mapping[str, Any]]) -> None:
        self._configuration = configuration
        self._made: dict[str, Provider] = {}

    def get(self, name: str) -> Provider:
        """Return the provider called `name`; raises `UnknownProviderError`. Call it with the loop running."""
        if name not in self._made:
            self._made[name] = _load(name)(**self._configuration.get(name, {}))
        return self._made[name]

    def warm(self, names: Iterable[str]) -> None:
        """Make these providers now: importing an SDK and building its client holds the event loop for a second."""
        for name in names:
            self.get(name)

    async def aclose(self) -> None:
        """Close the clients; the next `get` makes new ones."""
        made, self._made = self._made, {}
        for provider in made.values():
            await provider.aclose()


def _load(name: str) -> type[Any]:
    try:
        module, _, attribute = PROVIDERS[name].rpartition(".")
    except KeyError:
        raise UnknownProviderError(name) from None
    provider: type[Any] = getattr(import_module(module), attribute)
    return provider
