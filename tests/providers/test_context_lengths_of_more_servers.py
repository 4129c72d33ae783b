"""A conversation that is too long is told from what is too much of something else, in the words of each server."""

# ruff: noqa: E501 - they are quoted, in the languages that they are written in
from __future__ import annotations

import httpx2
import pytest

from chat.providers import errors

TOO_LONG = [
    "This model's maximum context length is 131072 tokens. However, you requested 128000 output tokens and your prompt contains at least 3073 input tokens, for a total of at least 131073 tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=3073)",
    "Input is too long for requested model.",
    "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000. Try using a shorter prompt, or enabling prompt truncating.",
    "the input length exceeds the context length",
    "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length, or provide a shorter input",
    "Trying to keep the first 5134 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough. Try to load the model with a larger context length, or provide a shorter input",
    "Reached context length of 4096 tokens with this model (arch: llama), but this model does not currently support mid-generation context overflow. Try reloading with a larger context length or shortening the prompt/chat.",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "request (5423 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000 tokens: 4000 tokens from the input messages and 1000 tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.",
    "Prompt length (5000) exceeds maximum input length (4096).",
    "Prompt length (5000) should not exceed max_input_len (4096)",
    "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
    "Request body too large for gpt-4o-mini model. Max size: 8000 tokens.",
    "Unable to submit request because the input token count is 1100000 but model only supports up to 1048576. Reduce the input token count and try again. You can also use the CountTokens API to calculate prompt token count and billable characters.",
    "invalid params, context window exceeds limit (2013)",
    "Total tokens of image and text exceed max message tokens. Request id: 0217",
    "The prompt is too long: 200000, model maximum context length: 131071",
    "Requested input length 8500 exceeds maximum input length 8191",
    'This endpoint\'s maximum context length is 131072 tokens. However, you requested about 140000 tokens (140000 of text input). Please reduce the length of either one, or use the "middle-out" transform to compress your prompt automatically.',
    "Number of input tokens (5000) cannot exceed the total tokens limit (4096) for this model",
    "Prompt length 5000 is greater than max_seq_len 4096",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "`inputs` must have less than 4095 tokens. Given: 5000",
    "number of input tokens must be no more than 8192, got 9000",
    "Requested tokens (5000) exceed context window of 4096",
    "Requested generation length 1 is not possible! The provided prompt is 9000 tokens long, so generating 1 tokens requires a sequence length of 9001, but the maximum supported sequence length is just 8192!",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens.",
    "max tokens of 4096 exceeded",
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 301331 tokens. Please reduce the length of the messages.",
    "输入长度超过模型最大长度限制",
    "Token length exceeds the model limit: 40960",
    "messages length 9000 exceeds the max tokens limit 8192 of the model",
    "input characters limit: the length of input exceeds 20000",
    "Conversation is too long for this model; start a new one",
    "This model's maximum input length is 8191 tokens, however you requested 9000 tokens",
    "The total number of tokens (prompt + completion) 9000 exceeds the model context 8192",
    "context_length_exceeded",
    "Prompt has 9000 tokens, which exceeds the model's limit of 8192",
]

NOT_TOO_LONG = [
    "messages.0.content.0.image.source.base64: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes",
    "At least one of the image dimensions exceed max allowed size: 8000 pixels",
    "A maximum of 100 PDF pages may be provided.",
    "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length 46 instead.",
    "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 200 instead.",
    "`max_tokens` cannot exceed 8192",
    "tools.0.custom.name: String should have at most 64 characters",
    "Too many images in request: 21 > 20",
    "Invalid 'prompt_cache_key': string too long. Expected a string with maximum length 64",
    "cache_control: A maximum of 4 blocks with cache_control may be provided. Found 5.",
    "thinking.budget_tokens: 40000 exceeds the maximum of 32000",
    "max_tokens (100000) exceeds the model's maximum output of 8192",
    "The number of stop sequences exceeds the maximum of 4",
    "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5",
    "Invalid 'metadata': too many properties. Expected at most 16",
    "Function name exceeds the maximum length of 64",
    "temperature 3 exceeds the maximum of 2",
    "The requested n exceeds the maximum allowed",
    "File size exceeds the limit of 20MB",
    "system prompt caching requires at least 1024 tokens",
    "n is greater than the maximum 1",
    "The audio is too long for this model",
    "Number of functions exceeds the limit of 128",
]


@pytest.mark.parametrize("message", TOO_LONG)
def test_a_conversation_that_is_too_long_is_recognised(message: str) -> None:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    assert errors.describe_status(httpx2.Response(400), body).code == "context_length"
    assert errors.describe_stream_failure(body).code == "context_length"


@pytest.mark.parametrize("message", NOT_TOO_LONG)
def test_other_limits_are_not_taken_for_the_context_length(message: str) -> None:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    assert errors.describe_status(httpx2.Response(400), body).code == "bad_request"
