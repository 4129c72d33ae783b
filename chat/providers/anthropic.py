"""Anthropic's Messages API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anthropic

from chat.providers import errors, http, sse
from chat.providers.adaptations import add_continue_instruction, apply_adaptations
from chat.providers.anthropic_decoder import MessagesDecoder
from chat.providers.anthropic_messages import is_paused
from chat.providers.anthropic_request import MAX_OUTPUT_TOKENS, build_request_body, thinks
from chat.providers.base import Prompt
from chat.providers.http_adapter import HttpAdapter
from chat.providers.model_table import find_capabilities

_HOME = "https://api.anthropic.com"


class AnthropicProvider(HttpAdapter):
    """Asks by the Messages API."""

    path = "/v1/messages"
    list_path = "/v1/models?limit=1000"
    status_error = anthropic.APIStatusError

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        max_line_bytes: int = sse.MAX_LINE_BYTES,
        max_output_tokens: int = MAX_OUTPUT_TOKENS,
        thinking_tokens: int = 0,
    ) -> None:
        """Let models that think within a budget do so with `thinking_tokens` before each answer; 0: they do not think.

        Models that decide by themselves how much they think are not given one.
        """
        self._thinking_tokens = thinking_tokens
        self._max_output_tokens = max_output_tokens
        self._server = base_url or ""
        key = errors.strip_key(api_key, base_url)
        client = anthropic.AsyncAnthropic(
            api_key=key or errors.PLACEHOLDER_KEY,
            base_url=base_url or _HOME,
            max_retries=0,
            open_telemetry=False,
            http_client=anthropic.DefaultAioHttpClient(**http.make_http_options()),
        )
        super().__init__(client, api_key=key, max_line_bytes=max_line_bytes)

    def _make_decoder(self, prompt: Prompt) -> MessagesDecoder:
        return MessagesDecoder(self._max_line_bytes, prompt)

    def build_request(self, prompt: Prompt) -> dict[str, Any]:
        return build_request_body(prompt, self._thinking_tokens, self._max_output_tokens)

    def _adapt(self, prompt: Prompt) -> Prompt:
        """Return the prompt as it is asked.

        A model that takes no beginning of its answer is told to continue it, and so is one that thinks: its own turn
        would have to begin with its thoughts.
        """
        prompt = apply_adaptations(prompt)
        if prompt.capabilities.api != "messages":  # nobody has looked up what the model takes
            prompt = replace(prompt, capabilities=find_capabilities("anthropic", prompt.model, self._server))
        is_begun = prompt.capabilities.prefill and not thinks(prompt, self._thinking_tokens)
        return prompt if is_begun or is_paused(prompt) else add_continue_instruction(prompt)
