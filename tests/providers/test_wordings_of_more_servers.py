"""What servers that CASES.md does not name say of a refusal has its code too: a row is one server's words."""

# ruff: noqa: E501, RUF001 - they are quoted, in the languages that they are written in
from __future__ import annotations

from typing import Any

import httpx2
import pytest

from chat.providers import errors

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


@pytest.mark.parametrize(("status", "body", "code"), REFUSALS)
def test_a_refusal_has_its_code(status: int, body: Any, code: str) -> None:
    assert errors.describe_status(httpx2.Response(status), body).code == code
