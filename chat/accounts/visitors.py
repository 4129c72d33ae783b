"""Visitors: the users of streams, and whether they still may read: a response of minutes outlives its login."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.db.models import CharField, DateTimeField
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from chat.accounts.known_logins import (
    KnownLogin,
    LoginEndedError,
    find_known_login,
    forget_login,
    remember_login,
    select_lasting_sessions,
)
from chat.models import ApiToken, User
from chat.models.compiled import Select
from chat.models.long_reads import read_in_pieces
from chat.observability.circuit import get_circuit
from chat.observability.outages import FAULTS, UnreachableError
from chat.tasks import run_in_thread

# The end of a session is noticed within this and a heartbeat, which is 15 s at most: the promise is 30 s.
CHECK_EVERY = 12.0


@dataclass(slots=True)
class Visitor:
    """A user, by a session or by a bearer token."""

    user: int
    session: str = ""
    token: str = ""
    unconfirmed: KnownLogin | None = None
    """Their login, where it is known from an earlier request and nothing has confirmed it for this one yet."""
    _checked: float = field(default_factory=time.monotonic)

    @classmethod
    def from_request(cls, request: HttpRequest, user: User) -> Visitor:
        """Return the visitor of a request of the API or of a page, who is `user`."""
        unconfirmed: KnownLogin | None = getattr(request, "unconfirmed_login", None)
        if token := read_bearer_token(request.headers.get("Authorization", "")):
            return cls(user.pk, token=token, unconfirmed=unconfirmed)
        return cls(user.pk, session=request.session.session_key or "", unconfirmed=unconfirmed)

    def is_known(self, session: str | None) -> bool:
        """Return whether one more request of this session is theirs, and needs no look at the database."""
        return bool(session) and session == self.session and self._was_checked

    @property
    def _was_checked(self) -> bool:
        return time.monotonic() - self._checked < CHECK_EVERY

    async def is_welcome(self) -> bool:
        """Return whether they may go on; ask the database once in `CHECK_EVERY` seconds."""
        if self._was_checked:
            return True
        self._checked = time.monotonic()
        return await self.may_go_on()

    async def may_go_on(self) -> bool:
        """Return whether they would be let in now, as far as the database can be asked."""
        try:
            async with get_circuit().guard():
                return await run_in_thread(self.is_let_in)
        except (UnreachableError, *FAULTS):
            return True  # while it cannot be asked, nothing is known of a login that ended; a stream goes on

    def confirm(self) -> None:
        """Look at a login that nothing has confirmed yet. Raises `LoginEndedError`."""
        if self.unconfirmed is not None and not self.is_let_in():
            forget_login(self.unconfirmed)
            raise LoginEndedError
        self.unconfirmed = None

    def is_let_in(self) -> bool:
        """Return whether a request like the first one would be let in now."""
        user = find_user_by_token(self.token) if self.token else find_user_by_session(self.session)
        return user is not None and user.pk == self.user


async def find_session_user(request: HttpRequest) -> User | AnonymousUser:
    """Return the user of a request's session, and leave it where `request.user` and `request.auser` look for it.

    Each of them would go to a thread, and the second one twice.
    """
    user = await run_in_thread(get_user, request)
    request._cached_user = request._acached_user = user  # type: ignore[attr-defined]
    request.unconfirmed_login = None  # type: ignore[attr-defined]
    if isinstance(user, User) and (key := request.session.session_key):
        remember_login(KnownLogin(user, session=key))
    return user


async def find_bearer(request: HttpRequest, token: str) -> User | None:
    """Return the active user of a request's bearer token, or None."""
    user = await run_in_thread(find_user_by_token, token)
    request.unconfirmed_login = None  # type: ignore[attr-defined]
    if user is not None:
        remember_login(KnownLogin(user, digest=ApiToken.compute_digest(token)))
    return user


def find_known_user(request: HttpRequest) -> User | None:
    """Return the user of a request whose login an earlier one had looked up here, without a look at the database.

    Nobody may be told anything, and nothing may be changed, before the login is confirmed: by the turn that is kept,
    see `chat.accounts.known_logins`, or by `Visitor.confirm`.
    """
    token = read_bearer_token(request.headers.get("Authorization", ""))
    if token:
        login = find_known_login(digest=ApiToken.compute_digest(token))
    else:
        login = find_known_login(session=request.session.session_key or "")
    if login is None:
        return None
    request.unconfirmed_login = login  # type: ignore[attr-defined]
    request._cached_user = request._acached_user = login.user  # type: ignore[attr-defined]
    return login.user


def read_bearer_token(authorization: str) -> str:
    """Return the token in an `Authorization` header, or nothing."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""  # RFC 9110, section 11.1: in any case


def find_ended_logins(asked: Mapping[UUID, tuple[int, Visitor | None]]) -> set[UUID]:
    """Return those answers, of `asked` by users and visitors, whose login has ended.

    It has when the user is not active any more, the token was revoked, or the user is logged out everywhere. A session
    that has ended by itself is a log-out in one browser: while the user has another one the answer runs on, and depends
    on that one. Three queries for all answers, and a fourth where a session has gone.
    """
    users = {user.pk: user for user in User.objects.filter(pk__in={pk for pk, _ in asked.values()}, is_active=True)}
    digests = {ApiToken.compute_digest(by.token) for _, by in asked.values() if by is not None and by.token}
    known = set(ApiToken.objects.filter(digest__in=digests).values_list("digest", flat=True))
    rows = select_lasting_sessions(timezone.now()).filter(
        pk__in={by.session for _, by in asked.values() if by is not None and by.session}
    )
    sessions = {row.session_key: row for row in rows}
    ended, without_session = set(), {}
    for answer, (pk, by) in asked.items():
        user = users.get(pk)
        if user is None or (by is not None and by.token and ApiToken.compute_digest(by.token) not in known):
            ended.add(answer)
        elif by is not None and by.session and not _is_session_of(sessions.get(by.session), user):
            without_session[answer] = (user, by)
    if not without_session:
        return ended
    others = _find_sessions({user.pk: user for user, _ in without_session.values()})
    for user, by in without_session.values():
        by.session = others.get(user.pk, by.session)
    return ended | {answer for answer, (user, _) in without_session.items() if user.pk not in others}


def _find_sessions(users: Mapping[int, User]) -> dict[int, str]:
    """Return the key of some session of each user who has one.

    Sessions do not say whose they are, so all of them are looked at, 0.1 ms each; that happens when a user logs out
    while an answer is being written.
    """
    found: dict[int, str] = {}
    for row in read_in_pieces(select_lasting_sessions(timezone.now()), 500):
        pk = _read_user_id(row)
        if pk in users and pk not in found and _is_session_of(row, users[pk]):
            found[pk] = row.session_key
            if len(found) == len(users):
                break
    return found


def _read_user_id(row: Session) -> int:
    return int(row.get_decoded().get(SESSION_KEY, 0))


def _is_session_of(row: Session | None, user: User) -> bool:
    """Return whether a session is the user's, and from after the last change of the password."""
    if row is None or _read_user_id(row) != user.pk:
        return False
    given = row.get_decoded().get(HASH_SESSION_KEY, "")
    valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(given, hash_) for hash_ in valid)


_with_token = Select(User, lambda digest: User.objects.filter(api_tokens__digest=digest, is_active=True), CharField())


def find_user_by_token(token: str) -> User | None:
    """Return the active user of a bearer token, or None."""
    return _with_token.get_first(ApiToken.compute_digest(token))


class _SessionContents(dict[str, object]):
    """The contents of a session, for a look that changes nothing.

    Django gives a session that an old key signed a new id, which logs out a browser that is not told it: only a
    response to a request brings the cookie.
    """

    def cycle_key(self) -> None: ...

    def flush(self) -> None: ...


def is_session_key(text: str) -> bool:
    """Return whether it can be a session's key, which is of letters and digits.

    A cookie may hold anything, in quotes also NUL, which PostgreSQL refuses to be asked for.
    """
    return text.isascii() and text.isalnum()


_lasting_session = Select(
    Session,
    lambda key, now: select_lasting_sessions(now).filter(pk=key),
    CharField(),
    DateTimeField(),
)


def find_user_by_session(key: str) -> User | None:
    """Return the user of a session as Django's middleware finds them, and leave the session as it is.

    The session has not ended, one of the site's keys signed it, the password is the same, and the user is active.
    """
    row = _lasting_session.get_first(key, timezone.now()) if is_session_key(key) else None
    request = HttpRequest()
    # It is what `get_user` asks of a session.
    request.session = _SessionContents(row.get_decoded() if row else {})  # type: ignore[assignment]
    user = get_user(request)
    return user if isinstance(user, User) else None
