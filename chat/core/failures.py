"""Failures of upstream calls: their causes, and what the provider reported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """The cause of a failed call, for operators. `chat.core.errors` has the codes and sentences for users."""

    CONNECTION = "connection"
    STATUS = "status"
    REPORTED = "reported"
    BROKEN_STREAM = "broken_stream"
    BAD_ANSWER = "bad_answer"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    BUDGET = "budget"
    KEY = "key"
    REFUSED_FORM = "refused_form"
    CONTEXT = "context"
    FILTER = "filter"
    SKIPPED = "skipped"
    SITE = "site"

    @property
    def label(self) -> str:
        """The cause's name on the staff's pages."""
        return _LABELS[self]


_LABELS = {
    Cause.CONNECTION: "no connection",
    Cause.STATUS: "error status",
    Cause.REPORTED: "error in the stream",
    Cause.BROKEN_STREAM: "broken stream",
    Cause.BAD_ANSWER: "unreadable answer",
    Cause.TIMEOUT: "timeout",
    Cause.RATE_LIMIT: "rate limit",
    Cause.BUDGET: "provider's budget",
    Cause.KEY: "key refused",
    Cause.REFUSED_FORM: "request refused",
    Cause.CONTEXT: "context too long",
    Cause.FILTER: "content filter",
    Cause.SKIPPED: "not asked",
    Cause.SITE: "the site itself",
}

_BY_CODE = {
    "unreachable": Cause.CONNECTION,
    "upstream_error": Cause.BROKEN_STREAM,
    "invalid_output": Cause.BAD_ANSWER,
    "timeout": Cause.TIMEOUT,
    "rate_limited": Cause.RATE_LIMIT,
    "provider_budget": Cause.BUDGET,
    "auth_failed": Cause.KEY,
    "bad_request": Cause.REFUSED_FORM,
    "context_length": Cause.CONTEXT,
    "content_filter": Cause.FILTER,
}


def find_cause(code: str) -> Cause:
    """Return the cause of an error code where nothing more is known: `SITE` for codes that no provider causes."""
    return _BY_CODE.get(code, Cause.SITE)


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """A provider's own account of a failure.

    `status` is the HTTP status, its own or one that a router passes on; `kind` has its error types and codes; `message`
    is its text for people; its support asks for the `request_id`.
    """

    status: int | None = None
    kind: str = ""
    message: str = ""
    request_id: str = ""


NO_REPORT = ProviderReport()


@dataclass(frozen=True, slots=True)
class Failure:
    """The ledger's record of a failed call; its report holds no secrets and nothing of the conversation."""

    cause: Cause
    report: ProviderReport = NO_REPORT
