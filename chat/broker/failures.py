"""The reasons for which Redis does not serve, in words that name what an operator has to change."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

from redis import exceptions

# Refusals that are a state of the server, by the first word of its answer; redis-py cuts the words that it has a class
# for.
_STATES = {
    "OOM": "its memory is full",
    "READONLY": "it is a read-only replica",
    "LOADING": "it is still loading its data",
    "MISCONF": "it cannot write to its disk and refuses writes",
    "MASTERDOWN": "it is a replica that has lost its master",
    "CLUSTERDOWN": "its cluster is down",
    "MOVED": "it is a cluster, which the site does not use",
}

_STATE_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.OutOfMemoryError, _STATES["OOM"]),
    (exceptions.ReadOnlyError, _STATES["READONLY"]),
    (exceptions.BusyLoadingError, _STATES["LOADING"]),
)


def describe_failure(error: BaseException) -> str:
    """Return why Redis could not be asked: the cause, in one line without passwords.

    The errors under an error know more than it does, so the first one that has a description decides, from the
    innermost.
    """
    for cause in reversed(list(_list_causes(error))):
        if description := _describe(cause):
            return description
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _describe(error: BaseException) -> str:  # noqa: C901, PLR0911, PLR0912 - a table of what there is
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is refused: {error.verify_message.rstrip('.')}"
        case ssl.SSLError():
            return f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
        case socket.gaierror():
            return f"its name is not found in the DNS: {error.strerror}"
        case ConnectionRefusedError():
            return "the connection is refused: nothing listens there"
        case FileNotFoundError():
            return "a file is not there: its socket, or the certificates that REDIS_URL names"
        case PermissionError():
            return "the site may not open its socket, or the certificates that REDIS_URL names"
        case ConnectionResetError() | BrokenPipeError():
            return "it closed the connection; where it wants TLS, REDIS_URL begins with rediss://"
        case exceptions.NoPermissionError():
            return f"its ACL does not let the site's user do this: {_get_first_line(error)}"
        case exceptions.AuthenticationError() if "required" in str(error).lower() or "NOAUTH" in str(error):
            return "it wants a password, and REDIS_URL has none"
        case exceptions.AuthenticationError():
            return "it refuses the user or the password of REDIS_URL"
        case exceptions.ResponseError():
            return _describe_response(error)
        case exceptions.InvalidResponse():
            return "what answers there is no Redis"
        case exceptions.ConnectionError():
            return _describe_state(error)
        case TimeoutError() | exceptions.TimeoutError():
            return "it does not answer in time"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return ""


def _describe_response(error: exceptions.ResponseError) -> str:
    if "DB index is out of range" in str(error):
        return "it has no database of the number in REDIS_URL"
    if re.search(r"\bNOPERM\b", str(error)):
        return f"its ACL does not let the site's user do this: {_get_first_line(error)}"
    return _describe_state(error)


def _describe_state(error: exceptions.RedisError) -> str:
    for kind, description in _STATE_CLASSES:
        if isinstance(error, kind):
            return description
    return _STATES.get(str(error).partition(" ")[0], "")


def _get_first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
