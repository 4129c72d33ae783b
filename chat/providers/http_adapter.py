"""The adapter of a wire format that is one POST and a body of server-sent events or of JSON."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import Any, ClassVar

from chat.core.errors import ChatError
from chat.core.events import ProviderEvent
from chat.core.failures import Cause
from chat.providers import errors, http
from chat.providers.adaptations import apply_adaptations
from chat.providers.base import Prompt
from chat.providers.decoder import Decoder
from chat.providers.model_lists import read_entries
from chat.providers.response_body import Body, get_response, post_request

# Seconds for the whole of a provider's list of models, which nobody waits for but the list of the next provider.
LIST_TIMEOUT = 20.0


class HttpAdapter(ABC):
    """The parts of a `chat.providers.base.Provider` that do not depend on the wire format.

    A subclass says the rest: how a prompt becomes a request, and what the bytes of an answer mean.
    """

    path: ClassVar[str]
    list_path: ClassVar[str] = "/models"
    """The path under which the provider lists its models."""
    status_error: ClassVar[type[Exception]]
    """The exception that the SDK raises for an error status. It has a `response`, which has been read."""

    def __init__(self, client: Any, *, api_key: str, max_line_bytes: int) -> None:
        """`client` is the client of either SDK, which is closed with the adapter; `api_key` is masked in failures."""
        self._client = client
        self._api_key = api_key
        self._max_line_bytes = max_line_bytes

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """See `chat.providers.base.Provider`."""
        if prompt.find_adaptation("no_stream"):
            yield await self.complete(prompt)
            return
        prompt = self._adapt(prompt)
        with self._translate_failures():
            async with (
                self._post(self.build_request(prompt) | self._make_stream_members(prompt)) as body,
                aclosing(http.follow(body, self._make_decoder(prompt))) as batches,
            ):
                async for batch in batches:
                    yield batch

    async def complete(self, prompt: Prompt) -> Sequence[ProviderEvent]:
        """See `chat.providers.base.Provider`."""
        prompt = self._adapt(prompt)
        has_to_stream = prompt.find_adaptation("stream_only") and not prompt.find_adaptation("no_stream")
        members = self._make_stream_members(prompt) if has_to_stream else {}
        with self._translate_failures():
            async with self._post(self.build_request(prompt) | members) as body:
                return self._make_decoder(prompt).read_whole(await body.read_whole(self._max_line_bytes))

    async def list_models(self) -> dict[str, Mapping[str, Any]]:
        """Return the entries of the provider's list of models, by name; see `chat.providers.model_lists`.

        Raises `ChatError`.
        """
        with self._translate_failures():
            async with asyncio.timeout(LIST_TIMEOUT), get_response(self._client, self.list_path) as body:
                text = await body.read_whole(self._max_line_bytes)
            try:
                return read_entries(json.loads(text))
            except (ValueError, RecursionError) as error:
                detail = "answered its list of models with no JSON"
                raise ChatError("upstream_error", detail, cause=Cause.BAD_ANSWER) from error

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._client.close()

    @abstractmethod
    def build_request(self, prompt: Prompt) -> dict[str, Any]:
        """Return the body of the request that asks an adapted prompt, without what asks for a stream."""

    @abstractmethod
    def _make_decoder(self, prompt: Prompt) -> Decoder:
        """Return a decoder for the answer to an adapted prompt."""

    def _adapt(self, prompt: Prompt) -> Prompt:
        """Return the prompt as this wire format asks it."""
        return apply_adaptations(prompt)

    def _make_stream_members(self, prompt: Prompt) -> dict[str, Any]:
        """Return the members of a request that ask for a stream."""
        return {"stream": True}

    def _post(self, request: dict[str, Any]) -> AbstractAsyncContextManager[Body]:
        return post_request(self._client, self.path, request)

    @contextmanager
    def _translate_failures(self) -> Iterator[None]:
        """Raise every failure inside as a `ChatError`."""
        with errors.translate_failures(self._api_key):
            try:
                yield
            except self.status_error as error:
                # The SDK's `body` is the member `error` alone, which may be no more than "Bad Request".
                response = error.response  # type: ignore[attr-defined]
                raise errors.describe_status(response, response.text) from error
