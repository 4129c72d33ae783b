"""The taxonomy: every way an answer can fail, with a sentence for people. No provider text passes through here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means to people, and whether the same question may succeed when asked again."""

    message: str
    retryable: bool


CODES: dict[str, Code] = {
    "rate_limited": Code("The model is receiving too many requests right now. Try again in a moment.", True),
    "context_length": Code("The conversation is longer than this model can read.", False),
    "content_filter": Code("The provider's content filter stopped this answer.", False),
    "upstream_error": Code("The model's provider failed while answering.", True),
    "timeout": Code("The model stopped responding in time.", True),
    "auth_failed": Code(
        "The site could not sign in to the model's provider. An administrator has to look at it.", False
    ),
    "bad_request": Code("The model's provider did not accept this request.", False),
    "server_lost": Code("The server that was writing this answer disappeared.", True),
    "server_restart": Code("The server restarted while writing this answer.", True),
    "overloaded": Code("The site was too busy to begin this answer.", True),
    "abandoned": Code("Nobody was watching any more, so the answer was cut short.", True),
    "quota_exceeded": Code("You have reached your limit for now.", False),
    "tool_limit": Code("The model called tools more often than is allowed.", True),
    "invalid_output": Code("The model's answer does not have the form that was asked for.", True),
    "too_long": Code("The answer grew longer than this site allows.", False),
}


class ChatError(Exception):
    """A failure that has a code of the taxonomy.

    `detail` is for the log only: it may hold what the provider said and is never shown to a user.
    `retry_after` is in seconds, when the provider gave it.
    """

    def __init__(self, code: str, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.retry_after = retry_after


class RefusedError(Exception):
    """A turn that may not begin now. `status` is HTTP's, `code` is for programs, `sentence` is for people;
    `retry_after` is in seconds, where it is known when the same may be asked again."""

    status = 503
    code = "refused"
    sentence = ""
    retry_after: int | None = None
