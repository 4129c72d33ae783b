"""Django's sessions and their users, found by statements that are composed once: a page's question needs both twice."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, DateTimeField, IntegerField
from django.http import HttpRequest
from django.utils import timezone

from chat.models import User
from chat.models.prepared import Select

_lasting = Select(
    Session,
    lambda key, now: Session.objects.filter(session_key=key, expire_date__gt=now),
    CharField(),
    DateTimeField(),
)
_user = Select(User, lambda pk: User.objects.filter(pk=pk), IntegerField())


class SessionStore(db.SessionStore):
    """The same table and the same contents: sessions that other programs make by Django's own are sessions here."""

    def _get_session_from_db(self) -> Session | None:
        found = _lasting.first(self.session_key, timezone.now())
        if found is None:
            self._session_key = None
        return found


class Backend(ModelBackend):
    """The users of sessions that begin here. Django's own backend stands behind it in the settings, for sessions that
    other programs began, and is not to try a wrong password once more."""

    def authenticate(self, request: HttpRequest | None, *args: Any, **kwargs: Any) -> User | None:
        user = super().authenticate(request, *args, **kwargs)
        if user is None:
            raise PermissionDenied
        return user

    def get_user(self, user_id: int) -> User | None:
        user = _user.first(user_id)
        return user if user is not None and self.user_can_authenticate(user) else None
