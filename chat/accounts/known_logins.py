"""Logins that this process has looked up: the statement that locks a question's conversation confirms them.

A question's session and its user were two statements and a hand-over to a thread, a tenth of what the question costs.
The user of a session or a token never changes, but in any process and at any moment it may become invalid. So a known
login is not simply trusted for some time: that it is valid is a condition of the first statement of the turn. A
log-out, a deactivation, another password and a revoked token take effect at that statement, as if the login were looked
up.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple

from django.contrib.sessions.models import Session
from django.db.models import CharField, DateTimeField, Exists, Field, Q, QuerySet
from django.utils import timezone

from chat.core.errors import RefusedError
from chat.models import ApiToken, User
from chat.models.compiled import Placeholder

# Some kilobytes each, in the process that looked them up; the one that was used longest ago goes first.
MAX_KNOWN = 2_000


class LoginEndedError(RefusedError):
    """A login that counted when it was looked up has ended since."""

    status, code = 401, "unauthorized"
    sentence = "You are no longer logged in."


class KnownLogin(NamedTuple):
    """A session or a token's digest, with its user as the user was when they were looked up."""

    user: User
    session: str = ""
    digest: str = ""

    @property
    def values(self) -> tuple[object, ...]:
        """The values of the condition, after the key of the user."""
        if self.digest:
            return (self.digest,)
        return self.user.password, self.session, timezone.now()


# The kinds of `KnownLogin.values`, by what the login is.
TOKEN_KINDS: tuple[Field[object, object], ...] = (CharField(),)
SESSION_KINDS: tuple[Field[object, object], ...] = (CharField(), CharField(), DateTimeField())


def make_token_condition(user: Placeholder, digest: Placeholder) -> Q:
    """Return the condition that a token is still its user's, who is active."""
    return Q(Exists(ApiToken.objects.filter(digest=digest, user=user, user__is_active=True)))


def make_session_condition(user: Placeholder, password: Placeholder, session: Placeholder, now: Placeholder) -> Q:
    """Return the condition that a session has not ended, and that its user is active and has the same password."""
    return Q(
        Exists(User.objects.filter(pk=user, is_active=True, password=password)),
        Exists(select_lasting_sessions(now).filter(pk=session)),
    )


def select_lasting_sessions(now: datetime | Placeholder) -> QuerySet[Session]:
    """Select the sessions that have not ended."""
    return Session.objects.filter(expire_date__gt=now)


# By session and digest, of which each login has one. The digest of a token is what the database keeps: nobody who has
# read it there may log in with it in the place of a session's key.
_known: OrderedDict[tuple[str, str], KnownLogin] = OrderedDict()


def remember_login(login: KnownLogin) -> None:
    """Remember a login that was looked up and found good."""
    key = (login.session, login.digest)
    _known[key] = login
    _known.move_to_end(key)
    while len(_known) > MAX_KNOWN:
        _known.popitem(last=False)


def find_known_login(*, session: str = "", digest: str = "") -> KnownLogin | None:
    """Return the login of a session's key or of a token's digest, if it was looked up here."""
    login = _known.get((session, digest))
    if login is not None:
        _known.move_to_end((session, digest))
    return login


def forget_login(login: KnownLogin) -> None:
    """Forget a login that could not be confirmed: the next request looks at it."""
    _known.pop((login.session, login.digest), None)
