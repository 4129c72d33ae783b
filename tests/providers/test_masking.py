"""What a provider says of a failure goes to the log without anything like a key."""

from __future__ import annotations

import time

import pytest

from chat.core.errors import ChatError
from chat.providers import errors
from chat.providers.masking import mask_secrets

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

SECRETS = [
    ("Incorrect API key provided: {}.", "sk-proj-4fJ2kd93jdkKDJ3kdj29"),
    ("bad key {}", "sk-ant-api03-abc_DEF-123456"),
    ("bad key {}", "sk-or-v1-0123456789abcdef"),
    ("bad key {} for you", "gsk_4fJ2kd93jdkKDJ3kdj29"),
    ("bad key {} for you", "xai-4fJ2kd93jdkKDJ3kdj29"),
    ("bad key {} for you", "hf_aBcDeFgHiJkLmNoPq"),
    ("bad key {} for you", "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"),
    ("bad key {} for you", "nvapi-4fJ2kd93jdkKDJ3kdj29"),
    ("credentials {} expired", "AKIAIOSFODNN7EXAMPLE"),
    ("Authorization: Bearer {} is not valid", "some.opaque-token_123"),
    ("authorization='Basic {}'", "dXNlcjpwYXNzd29yZA=="),
    ("header bearer {}", "0123456789"),
    ("api_key={}&model=x", "plainwords"),
    ("apiKey: {}", "plainwords"),
    ('{{"api-key": "{}"}}', "plainwords"),
    ('{{\\"api_key\\": \\"{}\\"}}', "plainwords"),
    ("x-api-key: {}", "plainwords"),
    ("x-goog-api-key={}", "plainwords"),
    ("Your api key: {} is invalid", "8f3a-plain-words"),
    ("GET https://host/v1?key={}&alt=sse failed", "plainwords1"),
    ("GET https://host/v1?access_token={} failed", "plainwords1"),
    ("connect to https://{}@proxy.local:8080", "user:secret"),
    ("password={}", "hunter22"),
    ("client_secret: '{}'", "plain-words"),
    ("token {} has expired", JWT),
    ("session {}", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("signed {}", "MEUCIQDx7Zk3mY1nX2b8Qp0vL9rT5wA6cE4hJ7kM1nP3sU5xZ"),
    ("two lines\nX-Api-Key:\t{}\nend", "plainwords"),
]

HARMLESS = [
    "404: The model `claude-sonnet-4-5-20250929` does not exist or you do not have access to it.",
    "400 invalid_request_error: meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8 takes no tools",
    "prompt is too long: 203456 tokens > 200000 maximum",
    "429: Rate limit reached for gpt-test in organization org-test on requests per min (RPM): Limit 3, Used 3",
    "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens",
    "upstream_error: sent malformed JSON: JSONDecodeError",
    "request 7f0c4c1e-9b53-4d6c-8a4d-9d1f2a3b4c5d failed",
    "Connection timeout to host http://127.0.0.1:9000/v1/chat/completions",
    "Incorrect API key provided: sk-t***.",
    "x" * 1000,
    "",
]


@pytest.mark.parametrize(("sentence", "secret"), SECRETS)
def test_a_secret_is_masked_and_the_rest_stays(sentence: str, secret: str) -> None:
    masked = mask_secrets(sentence.format(secret))
    assert secret not in masked
    assert secret[-6:] not in masked
    assert "***" in masked
    assert masked.split()[0][:3] == sentence.format(secret).split()[0][:3]


@pytest.mark.parametrize("sentence", HARMLESS)
def test_text_that_is_no_secret_stays(sentence: str) -> None:
    assert mask_secrets(sentence) == sentence


@pytest.mark.parametrize(("sentence", "secret"), SECRETS)
def test_no_failure_holds_a_secret(sentence: str, secret: str) -> None:
    said = sentence.format(secret)
    cause = ValueError(said)
    with pytest.raises(ChatError) as caught, errors.translate_failures("the-key-of-the-site"):
        raise ChatError("auth_failed", said) from cause
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_at_the_cut_of_a_long_detail_is_masked_whole() -> None:
    key = "sk-proj-4fJ2kd93jdkKDJ3kdj29"
    for before in range(errors.DETAIL_CHARS - 40, errors.DETAIL_CHARS):
        with pytest.raises(ChatError) as caught, errors.translate_failures("other"):
            raise ChatError("auth_failed", "a " * (before // 2) + key)
        assert "4fJ2kd" not in caught.value.detail


REPEATED = ("a", "aA", "=", "key=", "sk-", "a1", "://a:", "://:", "Bearer ", "eyJa.", "-eyJ", "api key is ")


@pytest.mark.parametrize("piece", REPEATED)
@pytest.mark.parametrize("before", ["", "://"])
def test_masking_is_linear(piece: str, before: str) -> None:
    """Anybody can send an address of 16,000 letters, and the log has it: 7,000 of them took four seconds."""
    begun = time.process_time()
    mask_secrets(before + piece * (100_000 // len(piece)))
    assert time.process_time() - begun < 2
