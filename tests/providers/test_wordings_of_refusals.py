"""The world's servers say in many ways that a conversation is too long or a budget used up; each has one code here."""

from __future__ import annotations

import httpx2
import pytest

from chat.providers import errors

# Each as its server words it, with figures in the forms that are in use.
TOO_LONG = [
    "The input token count (1058724) exceeds the maximum number of tokens allowed (1048576).",
    "The input token count is 40000 but model only supports up to 32768.",
    "Input length (700001 tokens) exceeds the maximum allowed length (536826 tokens) for this model.",
    "The input (12345 tokens) is longer than the model's context length (8192 tokens).",
    "Invalid request: Your request exceeded model token limit: 8192 (requested: 9001)",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "This model's maximum context length is 4096 tokens. However, you requested 4,400 tokens (4,100 in the messages,"
    " 300 in the completion). Please reduce the length of the messages or completion.",
    "This model's maximum context length is 8192 tokens. However, your request has 12345 input tokens.",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "prompt is too long: 203456 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000, decrease input length",
    "Input is too long for requested model.",
    "request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "Context size has been exceeded.",
    "Requested tokens (5123) exceed context window of 4096",
    "Requested token count exceeds the model's maximum context length of 131072 tokens.",
    "Input length (265330) exceeds model's maximum context length (262144).",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 2,048",
    "Prompt contains 40100 tokens, too large for model with 32768 maximum context length",
    "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5123.",
    "prompt token count of 128731 exceeds the limit of 128000",
    "prompt too long; exceeded max context length by 93 tokens",
    "invalid params, context window exceeds limit (2013)",
    "Range of input length should be [1, 30720]",
    "Please reduce the length of the messages or completion. Current length is 9001 while limit is 8192",
    "Trying to keep the first 9001 tokens when context the overflows. However, the model is loaded with context length"
    " of only 4096 tokens, which is not enough.",
    "The number of tokens to keep from the initial prompt is greater than the context length.",
    "the number of input tokens 9,001 cannot exceed the total tokens limit 8,192 for this model",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "Prompt has 5000 tokens, but the configured context size is 4096 tokens",
    "The prompt is too long: 140000, model maximum context length: 131072",
    "This endpoint's maximum context length is 131 072 tokens. However, you requested about 140 000 tokens.",
    "You passed 5001 input tokens. However, the model's context length is only 5000 tokens.",
    "Request exceeds the maximum context length: 1.048.576",
    "Prompt 超长",
    "输入长度超过模型上限",
]
NOT_TOO_LONG = [
    "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, you provided 100000.",
    "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-opus-4",
    "'max_tokens' or 'max_completion_tokens' is too large: 40000. This model's maximum context length is 32768 tokens"
    " and your request has 9 input tokens (40000 > 32768 - 9).",
    "`max_tokens` must be less than or equal to `32768`, the maximum value for `max_tokens` is less than the"
    " `context_window` for this model",
    "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes",
    "At least one of the image dimensions exceed max allowed size: 8000 pixels",
    "The image is too large for this model: maximum 20 MB",
    "Request exceeds the maximum number of images (20)",
    "The PDF document is too long: 240 pages, maximum 100",
    "temperature: 3 is greater than the maximum of 2",
    "Invalid 'tools': array too long. Expected an array with maximum length 128, but got one with length 200 instead.",
    "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got 70.",
    "top_p must be in (0, 1]",
    "Unknown parameter: 'context_length'.",
    "n_ctx is not a parameter of this request",
    "The model `gpt-none` does not exist or you do not have access to it.",
    "stream_options is not allowed when the context is cached",
    "thinking.budget_tokens: Input should be greater than or equal to 1024",
]
NO_BUDGET_LEFT = [
    (
        429,
        {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "You exceeded your quota"}},
    ),
    (429, {"error": {"type": "insufficient_quota", "code": "project_spend_limit_exceeded", "message": "No."}}),
    (429, {"error": {"message": "You exceeded your current quota, please check your plan and billing details."}}),
    (
        429,
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "You have reached your API usage limits: your organization crossed its monthly threshold.",
                "details": {"error_code": "enforced_spend_limit_reached"},
            },
        },
    ),
    (400, {"error": {"type": "invalid_request_error", "message": "You have reached your specified API usage limits."}}),
    (400, {"error": {"message": "Your credit balance is too low to access the Anthropic API."}}),
    (400, {"error": {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached"}}),
    (400, {"error": {"type": "budget_exceeded", "message": "Budget has been exceeded! Current cost: 5.1, Max: 5.0"}}),
    (400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}),
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
    (402, {"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}}),
    (402, "<html>Payment Required</html>"),
    (402, None),
    (403, {"error": {"message": "Key limit exceeded (total limit)", "code": 403}}),
    (
        403,
        {
            "code": "permission",
            "error": "Your team has either used all available credits or reached its monthly limit.",
        },
    ),
    (429, {"error": {"type": "exceeded_current_quota_error", "message": "Your account is suspended"}}),
    (429, {"error": {"code": "1113", "message": "您的账户已欠费"}}),
    (403, {"detail": "Spending limit exceeded for this project"}),
]
WAITS_HELP = [
    (429, {"error": {"code": "rate_limit_exceeded", "type": "tokens", "message": "Please try again in 20s."}}),
    (
        429,
        {"error": {"type": "rate_limit_error", "message": "This request would exceed your organization's rate limit"}},
    ),
    (
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota, please check your plan and billing details. * Quota"
                    " exceeded for metric: generate_content_free_tier_requests, limit: 10 Please retry in 34.07s.",
                    "status": "RESOURCE_EXHAUSTED",
                }
            }
        ],
    ),
    (429, {"message": "Too many tokens, please wait before trying again."}),
    (429, "slow down"),
]


@pytest.mark.parametrize("message", TOO_LONG)
@pytest.mark.parametrize("status", [400, 422])
def test_a_conversation_that_is_too_long_is_recognised(message: str, status: int) -> None:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    assert errors.describe_status(httpx2.Response(status), body).code == "context_length"
    assert errors.describe_status(httpx2.Response(status), {"detail": message}).code == "context_length"
    assert errors.describe_stream_failure({"object": "error", "message": message, "code": 400}).code == "context_length"


@pytest.mark.parametrize("message", NOT_TOO_LONG)
def test_too_much_of_something_else_is_no_context_length(message: str) -> None:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    assert errors.describe_status(httpx2.Response(400), body).code == "bad_request"
    assert errors.describe_stream_failure(body).code == "bad_request"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 400, "type": "exceed_context_size_error", "message": "no", "n_ctx": 8192}},
        {"error": {"type": "litellm.ContextWindowExceededError", "message": "no"}},
        {"error": {"code": "model_max_prompt_tokens_exceeded", "message": "no"}},
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": '{"message": "prompt is too long"}'},
            }
        },
        {"detail": [{"loc": ["body", "messages"], "msg": "prompt is too long"}]},
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                }
            }
        ],
        {"error": "prompt is too long: 9 tokens > 8 maximum"},
        {"message": '{"error": {"message": "prompt is too long"}}'},
    ],
)
def test_the_code_is_found_wherever_a_server_puts_it(body: object) -> None:
    assert errors.describe_status(httpx2.Response(400), body).code == "context_length"


@pytest.mark.parametrize(("status", "body"), NO_BUDGET_LEFT)
def test_a_used_up_budget_is_recognised(status: int, body: object) -> None:
    assert errors.describe_status(httpx2.Response(status), body).code == "provider_budget"


@pytest.mark.parametrize(("status", "body"), WAITS_HELP)
def test_a_limit_that_passes_is_no_budget(status: int, body: object) -> None:
    assert errors.describe_status(httpx2.Response(status), body).code == "rate_limited"


def test_a_provider_that_says_when_to_come_back_has_no_empty_budget() -> None:
    response = httpx2.Response(429, headers={"retry-after": "7"})
    body = {"error": {"message": "You exceeded your current quota, please check your plan and billing details."}}
    assert errors.describe_status(response, body).code == "rate_limited"


@pytest.mark.parametrize("status", [500, 503, 529])
def test_a_fault_that_speaks_of_billing_is_a_fault(status: int) -> None:
    body = {"error": {"message": "the billing service has no credits service"}}
    assert errors.describe_status(httpx2.Response(status), body).code == "upstream_error"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"type": "RateLimitError", "message": "no"}}, "rate_limited"),
        ({"error": {"status": "RESOURCE_EXHAUSTED", "message": "no"}}, "rate_limited"),
        (
            {"__type": "ThrottlingException", "message": "Too many tokens, please wait before trying again."},
            "rate_limited",
        ),
        ({"object": "error", "type": "BadRequestError", "message": "no"}, "bad_request"),
        ({"detail": "Not authenticated", "status_code": 401}, "auth_failed"),
        ({"error": {"type": "DEADLINE_EXCEEDED"}}, "timeout"),
        ({"errors": [{"message": "no", "code": 503}]}, "upstream_error"),
        ({"error": True, "message": "prompt is too long"}, "context_length"),
    ],
)
def test_an_error_in_the_stream_is_known_by_any_name(body: object, code: str) -> None:
    assert errors.describe_stream_failure(body).code == code
