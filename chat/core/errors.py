"""The taxonomy: every way an answer can fail, with a sentence for people. No provider text passes through here."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chat.core.events import Usage
from chat.core.failures import NO_REPORT, Cause, ProviderReport, find_cause
from chat.core.json_pointers import write_fragment


@dataclass(frozen=True, slots=True)
class Code:
    """The meaning of a code to people, and whether the same question may succeed when asked again."""

    message: str
    retryable: bool


CODES: dict[str, Code] = {
    "rate_limited": Code("The model is receiving too many requests right now. Try again in a moment.", True),
    "context_length": Code("The conversation is longer than this model can read.", False),
    "content_filter": Code("The provider's content filter stopped this answer.", False),
    "upstream_error": Code("The model's provider failed while answering.", True),
    "unreachable": Code("The model's provider could not be reached.", True),
    "provider_budget": Code(
        "The site's budget with the model's provider is used up. An administrator has to look at it.", False
    ),
    "timeout": Code("The model stopped responding in time.", True),
    "auth_failed": Code(
        "The site could not sign in to the model's provider. An administrator has to look at it.", False
    ),
    "bad_request": Code("The model's provider did not accept this request.", False),
    "server_lost": Code("The server that was writing this answer disappeared.", True),
    "server_restart": Code("The server restarted while writing this answer.", True),
    "overloaded": Code("The site was too busy to begin this answer.", True),
    "abandoned": Code("Nobody was watching any more, so the answer was cut short.", True),
    "login_ended": Code("The login that asked for this answer has ended, so it was cut short.", True),
    "quota_exceeded": Code("You have reached your limit for now.", False),
    "tool_limit": Code("The model called tools more often than is allowed.", True),
    "invalid_output": Code("The model's answer does not have the form that was asked for.", True),
    "too_long": Code("The answer grew longer than this site allows.", False),
}


class ChatError(Exception):
    """A failure that has a code of the taxonomy.

    `detail` is for the log only: it may hold what the provider said and is never shown to a user.
    `retry_after` is in seconds, when the provider gave it. `may_pass` is false when the same call, made again at once,
    would fail in the same way, whatever the code says of its kind. `is_reported` says that the provider itself reported
    the failure; `is_accepted` that it had begun to answer and did not, so that it has read what it was asked. `report`
    is what the provider said of it; `cause` is the code's own unless it is given. `usage` has the provider's figures
    where the answer came whole, as one JSON object.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        retry_after: float | None = None,
        may_pass: bool = True,
        is_reported: bool = False,
        is_accepted: bool = False,
        cause: Cause | None = None,
        report: ProviderReport = NO_REPORT,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.may_pass = may_pass
        self.is_reported = is_reported
        self.is_accepted = is_accepted
        self.cause = cause or find_cause(code)
        self.report = report
        self.usage = usage


class RefusedError(Exception):
    """A turn that may not begin now.

    `status` is HTTP's, `code` is for programs, `sentence` is for people; `retry_after` is in seconds, where it is known
    when the same may be asked again.
    """

    status = 503
    code = "refused"
    sentence = ""
    retry_after: int | None = None
    field = ""
    """The field of the request that is wrong; empty where it is not one."""
    path: tuple[str, ...] = ()
    """The names that lead to the field, where it lies inside others."""
    answer = ""
    """The id of the answer that stands in the way, where it is known."""

    @property
    def is_retryable(self) -> bool:
        """True when the same request may succeed later, unchanged."""
        return self.status >= 500 or self.code == "busy" or self.retry_after is not None


# The names of RFC 9110 that Python has from 3.13 on.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}

# Seconds after which a program may try again where a 503 knows nothing better.
COME_BACK_AFTER = 2


def write_error_body(
    status: int,
    code: str,
    sentence: str,
    *,
    retryable: bool = False,
    field: str = "",
    path: tuple[str, ...] = (),
    answer: str = "",
) -> dict[str, Any]:
    """Return the body of a refusal as every address of the API writes it, with the members of RFC 9457 beside ours.

    `path` are the names that lead to the field, where it lies inside others.
    """
    body: dict[str, Any] = {
        "error": {"code": code, "message": sentence, "retryable": retryable},
        "type": "about:blank",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": sentence,
    }
    if field or path:  # a field may have no name at all
        body["error"]["field"] = field
        body["errors"] = [{"detail": sentence, "pointer": write_fragment(path or (field,))}]
    if answer:
        body["error"]["answer"] = answer
    return body
