"""Who reads a stream, and whether they still may: a response that lasts minutes outlives what let it begin."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.db.models import CharField
from django.http import HttpRequest

from chat.background import in_thread
from chat.models import ApiToken, User
from chat.models.prepared import Select

# The end of a session is noticed within this and a heartbeat, which is 15 s at most: the promise is 30 s.
CHECK_EVERY = 12.0


@dataclass(slots=True)
class Visitor:
    """A user, by a session or by a bearer token."""

    user: int
    session: str = ""
    token: str = ""
    _checked: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, request: HttpRequest, user: User) -> Visitor:
        """The user whom a request of the API or of a page is let through as."""
        if token := bearer_token(request.headers.get("Authorization", "")):
            return cls(user.pk, token=token)
        return cls(user.pk, session=request.session.session_key or "")

    def is_known(self, session: str | None) -> bool:
        """Whether one more request of this session is theirs, and needs no look at the database."""
        return bool(session) and session == self.session and self._was_checked

    @property
    def _was_checked(self) -> bool:
        return time.monotonic() - self._checked < CHECK_EVERY

    async def is_welcome(self) -> bool:
        """Whether they may go on; asks the database once in `CHECK_EVERY` seconds."""
        if self._was_checked:
            return True
        self._checked = time.monotonic()
        return await in_thread(self.is_let_in)

    def is_let_in(self) -> bool:
        """Whether a request like the first one would be let in now."""
        user = user_of_token(self.token) if self.token else user_of_session(self.session)
        return user is not None and user.pk == self.user


async def user_of(request: HttpRequest) -> User | AnonymousUser:
    """The user of a request's session, left where `request.user` and `request.auser` look for it: each of them would go
    to a thread, and the second one twice."""
    user = await in_thread(get_user, request)
    request._cached_user = request._acached_user = user  # type: ignore[attr-defined]
    return user


def bearer_token(authorization: str) -> str:
    """The token in an `Authorization` header, or nothing."""
    scheme, _, token = authorization.partition(" ")
    return token if scheme == "Bearer" else ""


_with_token = Select(User, lambda digest: User.objects.filter(api_tokens__digest=digest, is_active=True), CharField())


def user_of_token(token: str) -> User | None:
    return _with_token.first(ApiToken.digest_of(token))


def user_of_session(key: str) -> User | None:
    """As Django's middleware finds them: the session has not ended, the password is the same, the user is active."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    return user if isinstance(user, User) else None
