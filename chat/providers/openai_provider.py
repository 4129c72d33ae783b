"""The provider `openai`: OpenAI, Azure, and every server that speaks one of OpenAI's two APIs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

import openai

from chat.core.events import Bookmark, ProviderEvent, Usage
from chat.providers import errors, http, sse
from chat.providers.base import Prompt, Resumption
from chat.providers.http_adapter import HttpAdapter
from chat.providers.openai_chat import ChatCompletionsAdapter
from chat.providers.openai_responses import ResponsesAdapter

_HOME = "https://api.openai.com/v1"

OpenAIApi = Literal["auto", "responses", "chat"]


class OpenAIProvider:
    """Asks by the Responses API or by Chat Completions, over the same connections.

    `api` says which one; with "auto", by what a refusal has taught about the model, otherwise by the model's
    capabilities. With `background` the Responses API keeps the answers that readers follow, so that they can be taken
    up again.
    """

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        api: OpenAIApi = "auto",
        background: bool = False,
        max_line_bytes: int = sse.MAX_LINE_BYTES,
    ) -> None:
        key = errors.strip_key(api_key, base_url)
        client = openai.AsyncOpenAI(
            api_key=key or errors.PLACEHOLDER_KEY,
            base_url=base_url or _HOME,
            max_retries=0,
            http_client=openai.DefaultAioHttpClient(**http.make_http_options()),
        )
        self._api = api
        self._responses = ResponsesAdapter(client, api_key=key, max_line_bytes=max_line_bytes, in_background=background)
        self._chat = ChatCompletionsAdapter(client, api_key=key, max_line_bytes=max_line_bytes)

    def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """See `chat.providers.base.Provider`."""
        return self.choose_adapter(prompt).stream(prompt)

    async def complete(self, prompt: Prompt) -> Sequence[ProviderEvent]:
        """See `chat.providers.base.Provider`."""
        return await self.choose_adapter(prompt).complete(prompt)

    def resume(self, prompt: Prompt, resumption: Resumption) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """See `chat.providers.base.ResumableProvider`."""
        return self._responses.resume(prompt, resumption)

    async def cancel(self, prompt: Prompt, bookmark: Bookmark) -> Usage | None:
        """See `chat.providers.base.ResumableProvider`."""
        return await self._responses.cancel(prompt, bookmark)

    async def list_models(self) -> dict[str, Mapping[str, Any]]:
        """See `chat.providers.base.Provider`."""
        return await self._chat.list_models()

    async def aclose(self) -> None:
        """Close the HTTP client, which both adapters use."""
        await self._chat.aclose()

    def choose_adapter(self, prompt: Prompt) -> HttpAdapter:
        """Return the adapter that asks this prompt."""
        if self._api != "auto":
            return self._responses if self._api == "responses" else self._chat
        if prompt.find_adaptation("chat_completions"):  # whatever else was tried, the server has no Responses API
            return self._chat
        is_responses = prompt.find_adaptation("responses_api") or prompt.capabilities.api == "responses"
        return self._responses if is_responses else self._chat
