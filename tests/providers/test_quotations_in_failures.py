"""What is kept of a failure repeats nothing of the conversation, however the provider writes it."""

from __future__ import annotations

import json

import pytest

from chat.core.errors import ChatError
from chat.core.failures import Cause, ProviderReport
from chat.providers.base import Prompt, Turn
from chat.providers.errors import describe_failure

QUESTION = 'Dear Dr. Müller,\nmy "blood count" is \U0001f622 14.2 and falling'
ANSWER = "Then you had better see somebody today"
PROMPT = Prompt("test-model", (Turn("system", "Be brief and kind."), Turn("user", QUESTION)))

WAYS = {
    "as it is": QUESTION,
    "in capitals": QUESTION.upper(),
    "as JSON": json.dumps(QUESTION),
    "as JSON with UTF-8": json.dumps(QUESTION, ensure_ascii=False),
    "its second line": QUESTION.partition("\n")[2],
    "the answer": ANSWER,
    "the answer in capitals": ANSWER.upper(),
    "the system's prompt": "Be brief and kind.",
}


@pytest.mark.parametrize("quoted", WAYS.values(), ids=WAYS)
def test_a_quotation_is_left_out(quoted: str) -> None:
    error = ChatError("bad_request", "", report=ProviderReport(400, message=f"Cannot read: {quoted} (sorry)"))
    kept = describe_failure(error, PROMPT, ANSWER).report.message
    assert kept.startswith("Cannot read:")
    assert kept.endswith("(sorry)")
    for word in ("müller", "blood", "falling", "better", "brief"):
        assert word not in kept.lower()


def test_a_filter_may_name_no_word_that_it_found() -> None:
    report = ProviderReport(400, "content_filter", "Flagged for 'cyanide' and \"ricin\". It's the provider's policy.")
    error = ChatError("content_filter", "", report=report)
    failure = describe_failure(error, PROMPT)
    assert failure.cause == Cause.FILTER
    assert failure.report.message == "Flagged for … and …. It's the provider's policy."


def test_text_that_is_no_quotation_stays() -> None:
    message = "Unsupported parameter: 'temperature' is not supported with this model. İ"
    error = ChatError("bad_request", "", report=ProviderReport(400, message=message))
    assert describe_failure(error, PROMPT, ANSWER).report.message == message
