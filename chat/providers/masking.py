"""Secrets in what a provider says: an error body may repeat the key that was sent, or another one."""

from __future__ import annotations

import re
from string import ascii_letters

MASK = "***"

# What stands before a secret and may stay: the name of a header, a parameter or a JSON member, with its "=" or ":",
# also in quotes, escaped or not, and with a few words between ("Incorrect API key provided: …").
_NAME = (
    r"(?:x[-_]?)?(?:goog[-_])?api[-_ ]?key|apikey|access[-_ ]?key(?:[-_ ]?id)?|secret(?:[-_ ]?(?:access[-_ ]?)?key)?"
    r"|(?:access|auth|refresh|id|session|api|bearer)[-_ ]?token|token|client[-_ ]?secret|passw(?:or)?d|pwd"
    r"|proxy-authorization|authorization|set-cookie|cookie|signature|sig|key"
)
_NAMED = re.compile(
    rf"(?P<name>(?<![a-z0-9])(?:{_NAME})(?:[ ](?:is|was|provided|given|used|sent|received)){{0,2}}"
    rf"[\\\"'`]*\s*[=:]\s*[\\\"'`]*(?:(?:bearer|basic|token)\s+)?)(?P<secret>[^\s\\\"'`,;&<>(){{}}\[\]]{{6,}})",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?P<name>\b(?:bearer|basic)\s+)(?P<secret>[\w.+/=~-]{6,})", re.IGNORECASE)

# The forms of keys that say what they are, wherever they stand.
_FORMS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk|ak)[-_][\w-]{6,}"  # OpenAI, Anthropic, OpenRouter, DeepSeek, Moonshot, Langfuse, Stripe
    r"|(?:gsk|hf|r8|fw|tgp|csk|ghp|gho|ghu|ghs|ghr|github_pat|glpat|xox[abprs]|pplx|xai|nvapi|key|ya29|esecret)[-_.]\w[\w-]{9,}"
    r"|AIza[\w-]{10,}|(?:AKIA|ASIA|ABSK)[A-Za-z0-9+/=]{8,}"
    r"|eyJ[\w-]{5,400}\.[\w-]{5,}(?:\.[\w-]*)?"  # a JSON web token, whose head is short
    r")"
)
_USERINFO = re.compile(r"(?<=://)[^/\s@:]*+:[^/\s@]++(?=@)")

# Long tokens of no known form. A name of a model or an id in words has shorter pieces between its hyphens.
_LONG = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_RUN = re.compile(r"[A-Za-z0-9]{24,}")
_BASE64_LETTERS = "+/" + ascii_letters
LEAST_BASE64 = 40


def mask_secrets(text: str) -> str:
    """Return `text` with everything that is, or looks like, a key or token replaced by asterisks."""
    text = _USERINFO.sub(MASK, text)
    text = _SCHEME.sub(_mask_value, text)
    text = _NAMED.sub(_mask_value, text)
    text = _FORMS.sub(MASK, text)
    return _LONG.sub(lambda found: MASK if _is_random(found[0]) else found[0], text)


def _is_random(token: str) -> bool:
    """Return whether a token mixes letters and digits in one long run, or ends in long Base64 of both cases.

    Each step looks at a character once: anybody can send an address of 16,000 letters, and it is logged.
    """
    if any(not run.isalpha() and not run.isdigit() for run in _RUN.findall(token)):
        return True
    body = token.rstrip("=")
    tail = body[len(body.rstrip(_BASE64_LETTERS)) :]
    is_mixed = tail != tail.lower() and tail != tail.upper()
    return len(tail) >= LEAST_BASE64 and len(token) - len(body) <= 2 and is_mixed


def _mask_value(found: re.Match[str]) -> str:
    return found[0] if "**" in found["secret"] else found["name"] + MASK  # some providers mask it themselves
