"""What servers that CASES.md does not name say of a refusal has its code too: a row is one server's words."""

# ruff: noqa: E501, RUF001 - they are quoted, in the languages that they are written in
from __future__ import annotations

from typing import Any

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

REFUSALS: list[tuple[int, Any, str]] = [
    (
        402,
        {
            "error": {
                "message": "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
                "code": 402,
            }
        },
        "provider_budget",
    ),
    (
        402,
        {
            "error": {
                "message": "Credit limit exceeded, please navigate to https://api.together.xyz/settings/billing to upgrade your plan or add credits.",
                "type": "credit_limit",
            }
        },
        "provider_budget",
    ),
    (
        429,
        {
            "error": {
                "message": "Your account org-1 <ak-1> is suspended due to insufficient balance, please recharge your account or check your plan and billing details",
                "type": "exceeded_current_quota_error",
            }
        },
        "provider_budget",
    ),
    (
        402,
        {
            "error": "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO to get 20x more monthly included credits."
        },
        "provider_budget",
    ),
    (429, {"error": "You have exceeded your monthly included credits for Inference Providers."}, "provider_budget"),
    (
        429,
        {
            "message": "You are using a Trial key, which is limited to 1000 API calls / month. You can continue to use the Trial key for free or upgrade to a Production key with higher rate limits at 'https://dashboard.cohere.com/api-keys'."
        },
        "provider_budget",
    ),
    (403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}, "provider_budget"),
    (429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}, "provider_budget"),
    (
        403,
        {
            "error": {
                "code": "AccountOverdueError",
                "message": "The request failed because your account has an overdue balance.",
            }
        },
        "provider_budget",
    ),
    (
        429,
        {
            "error": {
                "code": "SetLimitExceeded",
                "message": 'Your account [1] has reached the set inference limit for the [doubao] model, and the model service has been paused. To continue using this model, please visit the Model Activation page to adjust or close the "Safe Experience Mode".',
            }
        },
        "provider_budget",
    ),
    (
        403,
        {
            "code": "AllocationQuota.FreeTierOnly",
            "message": 'The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, please disable the "use free tier only" mode in the management console.',
        },
        "provider_budget",
    ),
    (
        429,
        {
            "code": "Some resource has been exhausted",
            "error": "Your team 1 has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit.",
        },
        "provider_budget",
    ),
    (
        429,
        {
            "error": {
                "message": "ExceededTokenBudget: Current spend for token: 7.2e-05; Max Budget for Token: 2e-07",
                "type": "auth_error",
            }
        },
        "provider_budget",
    ),
    (
        400,
        {
            "error": {
                "message": "ExceededBudget: User=x over budget. Spend=1.2, Budget=1.0",
                "type": "budget_exceeded",
                "code": "400",
            }
        },
        "provider_budget",
    ),
    (
        412,
        {"status": "failure", "message": "Portkey Error: Budget limit exceeded for this virtual key"},
        "provider_budget",
    ),
    (
        401,
        {
            "error": {
                "message": "You exceeded your current quota, please check your plan and billing details.",
                "type": "insufficient_quota",
                "code": 401,
            }
        },
        "provider_budget",
    ),
    (
        429,
        {
            "errors": [
                {
                    "message": "AiError: you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers Paid plan if you would like to continue usage.",
                    "code": 4006,
                }
            ]
        },
        "provider_budget",
    ),
    (
        400,
        {
            "error": {
                "message": "Organization has exceeded its spend limit. Please raise it in the console.",
                "type": "invalid_request_error",
                "code": "blocked_api_access",
            }
        },
        "provider_budget",
    ),
    (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            },
        },
        "provider_budget",
    ),
    (
        403,
        {"type": "error", "error": {"type": "billing_error", "message": "Your organization's billing is disabled."}},
        "provider_budget",
    ),
    (402, {"error": {"code": "payment_required", "message": "Payment is required"}}, "provider_budget"),
    (
        403,
        {
            "error": {
                "code": 403,
                "message": "This API method requires billing to be enabled. Please enable billing on project #1 by visiting https://console.developers.google.com/billing/enable?project=1 then retry.",
                "status": "PERMISSION_DENIED",
            }
        },
        "provider_budget",
    ),
    (
        429,
        {
            "error": {
                "message": "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.",
                "code": 429,
                "status": "RESOURCE_EXHAUSTED",
            }
        },
        "provider_budget",
    ),
    (
        429,
        {
            "error": {
                "message": "Your project has exceeded its monthly spending cap. Please go to AI Studio",
                "code": 429,
                "status": "RESOURCE_EXHAUSTED",
            }
        },
        "provider_budget",
    ),
    (
        400,
        {"error": {"message": "Wallet balance is too low. Please top up.", "type": "invalid_request_error"}},
        "provider_budget",
    ),
    (
        403,
        {"error": {"message": "Account balance not enough, please recharge", "code": "INSUFFICIENT_BALANCE"}},
        "provider_budget",
    ),
    (
        403,
        {
            "error": {
                "message": "用户额度不足, 剩余额度: ＄0.000000",
                "type": "new_api_error",
                "code": "insufficient_user_quota",
            }
        },
        "provider_budget",
    ),
    (
        403,
        {"error": {"message": "该令牌额度已用尽 TokenStatusExhausted[sk-abc***def]", "type": "new_api_error"}},
        "provider_budget",
    ),
    (429, {"message": "You are using a Trial key, which is limited to 20 API calls / minute."}, "rate_limited"),
    (
        429,
        {
            "error": {
                "code": "RateLimitReached",
                "message": "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 40000 seconds before retrying.",
            }
        },
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "code": "429",
                "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-01 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 20 seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.",
            }
        },
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "code": 429,
                "message": "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project_per_base_model with base model: gemini-2.5-pro. Please submit a quota increase request.",
                "status": "RESOURCE_EXHAUSTED",
            }
        },
        "rate_limited",
    ),
    (429, {"message": "Too many tokens per day, please wait before trying again."}, "rate_limited"),
    (
        429,
        {
            "error": {
                "message": "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 5000. Please try again in 8s.",
                "type": "tokens",
                "code": "rate_limit_exceeded",
            }
        },
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "message": "Rate limit reached for model in organization on tokens per day (TPD): Limit 100000, Used 99000, Requested 5000. Please try again in 1h2m. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing",
                "type": "tokens",
                "code": "rate_limit_exceeded",
            }
        },
        "rate_limited",
    ),
    (
        429,
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "Number of request tokens has exceeded your daily rate limit (https://docs.anthropic.com)",
            },
        },
        "rate_limited",
    ),
    (429, {"message": "Requests rate limit exceeded"}, "rate_limited"),
    (
        429,
        {
            "object": "error",
            "message": "Service tier capacity exceeded for this model.",
            "type": "service_tier_capacity_exceeded",
            "param": None,
            "code": "3505",
        },
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
                "code": 429,
                "metadata": {"headers": {"X-RateLimit-Limit": "50"}},
            }
        },
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "code": 429,
                "message": "Resource exhausted. Please try again later. Please refer to https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.",
                "status": "RESOURCE_EXHAUSTED",
            }
        },
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "message": "Provider returned error",
                "code": 429,
                "metadata": {
                    "raw": "qwen/qwen3 is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits",
                    "provider_name": "Chutes",
                },
            }
        },
        "rate_limited",
    ),
    (
        429,
        {"error": {"code": "1302", "message": "您当前使用该API的并发数过高，请降低并发，或联系客服增加限额"}},
        "rate_limited",
    ),
    (
        429,
        {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded, please try again later."},
        "rate_limited",
    ),
    (
        429,
        {
            "code": "Throttling.AllocationQuota",
            "message": "Allocated quota exceeded, please increase your quota limit.",
        },
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "message": "Max organization concurrency: 3 reached for organization: x, please try again after 1 seconds",
                "type": "rate_limit_reached_error",
            }
        },
        "rate_limited",
    ),
    (
        400,
        {
            "error": {
                "code": "SensitiveContentDetected",
                "message": "The request failed because the input text may contain sensitive information.",
            }
        },
        "content_filter",
    ),
    (
        400,
        {
            "error": {
                "code": "1301",
                "message": "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。",
            }
        },
        "content_filter",
    ),
    (403, {"error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, "content_filter"),
    (400, {"error": {"message": "The generated text has been blocked by our content filters."}}, "content_filter"),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI practices. Try rephrasing the prompt.",
                "status": "INVALID_ARGUMENT",
            }
        },
        "content_filter",
    ),
    (
        400,
        {
            "error": {
                "message": "The request was rejected because it was considered high risk",
                "type": "content_filter",
            }
        },
        "content_filter",
    ),
    (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
        },
        "content_filter",
    ),
    (
        400,
        {
            "error": {
                "message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
                "code": "invalid_prompt",
            }
        },
        "content_filter",
    ),
    (
        403,
        {
            "error": {
                "code": 403,
                "message": 'openai/gpt-4o requires moderation on OpenAI. Your input was flagged for "violence". No credits were charged.',
            }
        },
        "content_filter",
    ),
    (
        400,
        {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."},
        "content_filter",
    ),
    (400, {"error": {"message": "Violated guardrail policy", "type": "guardrail_violation"}}, "content_filter"),
    (400, {"error": {"message": "Content blocked by safety system", "code": "moderation_blocked"}}, "content_filter"),
    (
        400,
        {
            "error": {
                "message": "This request has been flagged for possible cybersecurity risk.",
                "type": "invalid_request",
                "code": "cyber_policy",
            }
        },
        "content_filter",
    ),
    (
        451,
        {"error": {"message": "Unavailable for policy reasons", "code": "content_policy_violation"}},
        "content_filter",
    ),
    (
        400,
        {
            "error": {
                "message": "Your request was rejected as a result of our safety system.",
                "type": "invalid_request_error",
            }
        },
        "content_filter",
    ),
    (
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                "code": "content_filter",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        "content_filter",
    ),
    (401, {"error": {"message": "Incorrect API key provided: sk-abc***.", "code": "invalid_api_key"}}, "auth_failed"),
    (
        403,
        {
            "error": {
                "message": "Country, region, or territory not supported",
                "code": "unsupported_country_region_territory",
            }
        },
        "auth_failed",
    ),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "API key not valid. Please pass a valid API key.",
                "status": "INVALID_ARGUMENT",
                "details": [{"reason": "API_KEY_INVALID"}],
            }
        },
        "auth_failed",
    ),
    (401, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}, "auth_failed"),
    (
        400,
        {
            "error": {
                "message": "Incorrect API key provided: xa***. You can obtain an API key from https://console.x.ai."
            }
        },
        "auth_failed",
    ),
    (
        400,
        {"error": {"code": 400, "message": "API Key expired. Please renew the API key.", "status": "INVALID_ARGUMENT"}},
        "auth_failed",
    ),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "User location is not supported for the API use.",
                "status": "FAILED_PRECONDITION",
            }
        },
        "auth_failed",
    ),
    (
        403,
        {"error": {"message": "This organization has been disabled.", "type": "invalid_request_error"}},
        "auth_failed",
    ),
    (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "This organization has been disabled."},
        },
        "auth_failed",
    ),
    (
        413,
        {
            "error": {
                "code": "tokens_limit_reached",
                "message": "Request body too large for gpt-4o model. Max size: 8000 tokens.",
            }
        },
        "context_length",
    ),
    (
        429,
        {
            "error": {
                "message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000. The input or output tokens must be reduced.",
                "type": "tokens",
            }
        },
        "context_length",
    ),
    (500, {"error": {"message": "Context size has been exceeded.", "type": "server_error"}}, "context_length"),
]

IN_A_STREAM: list[tuple[dict[str, Any], str]] = [
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, "provider_budget"),
    (
        {
            "base_resp": {
                "status_code": 1004,
                "status_msg": "login fail: Please carry the API secret key in the 'Authorization' field",
            },
            "choices": None,
        },
        "auth_failed",
    ),
    ({"base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}, "choices": None}, "rate_limited"),
    (
        {
            "base_resp": {"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"},
            "choices": None,
        },
        "context_length",
    ),
    ({"base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}, "choices": None}, "content_filter"),
    ({"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}, "content_filter"),
    ({"type": "error", "error": {"details": None, "type": "timeout_error", "message": "Request timed out"}}, "timeout"),
    (
        {"type": "error", "error": {"type": "billing_error", "message": "Your credit balance is too low"}},
        "provider_budget",
    ),
    ({"error": {"message": "Provider disconnected", "code": 502}}, "upstream_error"),
    ({"error": {"message": "Rate limit exceeded", "code": 429}}, "rate_limited"),
    ({"error": {"message": "No auth credentials found", "code": 401}}, "auth_failed"),
    ({"error": "error parsing tool call: raw='{x', err=invalid character"}, "upstream_error"),
    ({"detail": "Internal Server Error"}, "upstream_error"),
    ({"error": {"type": "server_error", "code": "rate_limit_exceeded", "message": "slow"}}, "rate_limited"),
    ({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 10 seconds."}, "rate_limited"),
    ({"error_code": 336003, "error_msg": "prompt tokens too long"}, "context_length"),
    ({"status": "error", "message": "Prompt is too long"}, "context_length"),
    ({"title": "Too Many Requests", "status": 429, "detail": "slow"}, "rate_limited"),
    (
        {
            "fault": {
                "faultstring": "Rate limit quota violation. Quota limit  exceeded",
                "detail": {"errorcode": "policies.ratelimit.QuotaViolation"},
            }
        },
        "rate_limited",
    ),
]

NO_ERRORS: list[dict[str, Any]] = [
    {"code": 0, "msg": "success", "data": {"x": 1}},
    {"code": 200, "message": "ok", "choices": []},
    {"base_resp": {"status_code": 0, "status_msg": ""}, "choices": None},
    {"id": "x", "object": "chat.completion.chunk", "choices": None, "status": "ok"},
    {"message": "", "code": ""},
    {"object": "queue", "position": 3, "message": "You are in the queue"},
    {"type": "vertex_event", "usage": {}},
    {"warning": "deprecated", "message": "This model is deprecated"},
    {"code": 200, "message": "success"},
    {"status": "success", "message": "Processing"},
    {"success": True, "message": "queued"},
    {"code": "200", "msg": "OK"},
    {"code": 0, "message": "Success"},
    {"error": {"code": 0, "message": ""}, "choices": [{"delta": {"content": "x"}}]},
    {"error": {"code": None, "message": None}},
    {"error": {}},
    {"errors": []},
    {"error": "null"},
]


@pytest.mark.parametrize("message", TOO_LONG)
def test_a_conversation_that_is_too_long_is_recognised(message: str) -> None:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    assert errors.describe_status(httpx2.Response(400), body).code == "context_length"
    assert errors.stream_failure(body).code == "context_length"


@pytest.mark.parametrize("message", NOT_TOO_LONG)
def test_other_limits_are_not_taken_for_the_context_length(message: str) -> None:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    assert errors.describe_status(httpx2.Response(400), body).code == "bad_request"


@pytest.mark.parametrize(("status", "body", "code"), REFUSALS)
def test_a_refusal_has_its_code(status: int, body: Any, code: str) -> None:
    assert errors.describe_status(httpx2.Response(status), body).code == code


@pytest.mark.parametrize(("body", "code"), IN_A_STREAM)
def test_an_error_in_a_stream_has_its_code(body: dict[str, Any], code: str) -> None:
    assert errors.is_error(body)
    assert errors.stream_failure(body).code == code


@pytest.mark.parametrize("body", NO_ERRORS)
def test_words_that_say_all_is_well_are_no_error(body: dict[str, Any]) -> None:
    assert not errors.is_error(body)
