"""OpenAI's Responses API, which Azure and servers such as vLLM, llama.cpp and LiteLLM speak too.

Nothing is stored at the provider, unless the operator allows background mode: then the answers that readers follow go
on at the provider without us, and are taken up again or cancelled by their id.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import httpx2
import openai

from chat.core.errors import ChatError
from chat.core.events import Bookmark, ProviderEvent, Usage
from chat.providers import http
from chat.providers.base import THINKING, Prompt, ResponseGoneError, Resumption
from chat.providers.decoder import Decoder
from chat.providers.http_adapter import HttpAdapter
from chat.providers.openai_responses_decoder import ResponsesDecoder
from chat.providers.openai_responses_request import build_request_body, choose_reasoning
from chat.providers.repetition import Repetition
from chat.providers.response_body import get_response
from chat.providers.token_counts import TokenCounts, report_openai_usage

# Seconds between two polls of a response that is too old to be streamed, as in OpenAI's guide.
POLL_EVERY = 2.0

# Seconds for a cancellation, which the end of an answer waits for.
CANCEL_TIMEOUT = 2.0


class ResponsesAdapter(HttpAdapter):
    """Asks by the Responses API."""

    path = "/responses"
    status_error = openai.APIStatusError

    def __init__(self, client: Any, *, api_key: str, max_line_bytes: int, in_background: bool = False) -> None:
        """See `HttpAdapter`; `in_background` has the provider keep the answers that readers follow."""
        super().__init__(client, api_key=api_key, max_line_bytes=max_line_bytes)
        self._in_background = in_background

    async def resume(self, prompt: Prompt, resumption: Resumption) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """See `chat.providers.base.ResumableProvider`."""
        prompt, bookmark = self._adapt(prompt), resumption.bookmark
        decoder = self._make_decoder(prompt)
        decoder.restore(bookmark)
        repetition = Repetition(resumption.received_since)
        query = f"?stream=true&starting_after={bookmark.number}{_make_include_query(prompt)}"
        try:
            async with aclosing(self._read_rest(self._build_address(bookmark) + query, decoder)) as batches:
                async for batch in batches:
                    yield repetition.drop(batch)
            return
        except ChatError as error:
            if error.code != "bad_request":
                raise
            if "stream" not in error.detail:
                raise ResponseGoneError(error.detail) from error
        # OpenAI refuses to stream a response that is more than five minutes old, and has it whole for ten.
        async with aclosing(self._wait_for_whole(prompt, resumption)) as looks:
            async for events in looks:
                yield events

    async def _read_rest(self, address: str, decoder: Decoder) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Yield what a stream that is taken up brings. Raises `ChatError`."""
        with self._translate_failures():
            async with get_response(self._client, address) as body, aclosing(http.follow(body, decoder)) as batches:
                async for batch in batches:
                    yield batch

    async def _wait_for_whole(
        self, prompt: Prompt, resumption: Resumption
    ) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Ask now and then whether a response has ended, and yield what is new of it then."""
        while (events := await self._read_if_whole(prompt, resumption)) is None:
            yield [THINKING]
            await asyncio.sleep(POLL_EVERY)
        yield events

    async def _read_if_whole(self, prompt: Prompt, resumption: Resumption) -> Sequence[ProviderEvent] | None:
        """Return what is new of a response that has ended, None while it has not. Raises `ResponseGoneError`."""
        address = self._build_address(resumption.bookmark) + _make_query_for_whole(prompt)
        try:
            with self._translate_failures():
                async with get_response(self._client, address) as body:
                    whole = await body.read_whole(self._max_line_bytes)
                if _read_object(whole).get("status") in ("queued", "in_progress"):
                    return None
                return Repetition(resumption.received).drop(self._make_decoder(prompt).read_whole(whole))
        except ChatError as error:
            if error.code == "bad_request":
                raise ResponseGoneError(error.detail) from error
            raise

    async def cancel(self, prompt: Prompt, bookmark: Bookmark) -> Usage | None:
        """See `chat.providers.base.ResumableProvider`."""
        with self._translate_failures():
            try:
                response = await self._client.post(
                    f"{self._build_address(bookmark)}/cancel",
                    cast_to=httpx2.Response,
                    options={"timeout": CANCEL_TIMEOUT},
                )
            except self.status_error as error:
                if error.response.status_code not in (400, 404, 409):
                    raise
                # It has ended, of which the API says no more here.
                response = await self._client.get(
                    self._build_address(bookmark), cast_to=httpx2.Response, options={"timeout": CANCEL_TIMEOUT}
                )
        counts = TokenCounts(prompt.size)
        report_openai_usage(counts, _read_object(response.content).get("usage"))
        return counts.make_usage(0, 0)

    def _build_address(self, bookmark: Bookmark) -> str:
        return f"{self.path}/{quote(bookmark.id, safe='')}"

    def build_request(self, prompt: Prompt) -> dict[str, Any]:
        """See `HttpAdapter`."""
        request = build_request_body(prompt, self._name_origin(prompt))
        return {**request, "store": True, "background": True} if self._is_kept(prompt) else {**request, "store": False}

    def _make_decoder(self, prompt: Prompt) -> ResponsesDecoder:
        return ResponsesDecoder(self._max_line_bytes, prompt, self._name_origin(prompt))

    def _is_kept(self, prompt: Prompt) -> bool:
        """Return whether the provider is to keep the answer to this prompt."""
        return self._in_background and prompt.is_followed and not prompt.find_adaptation("no_background")

    def _name_origin(self, prompt: Prompt) -> str:
        """Return a name for the model at this server, which alone can read its encrypted reasoning."""
        return f"{prompt.model} at {self._client.base_url} by {self.path}"


def _make_include_query(prompt: Prompt) -> str:
    """Return the part of a query that wants reasoning encrypted, where the request of this prompt does."""
    parts = choose_reasoning(prompt).get("include", ())
    return "".join(f"&include[]={part}" for part in parts)


def _make_query_for_whole(prompt: Prompt) -> str:
    """Return the query for a whole response."""
    include = _make_include_query(prompt)
    return f"?{include[1:]}" if include else ""


def _read_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
