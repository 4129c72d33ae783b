"""Django's sessions, found by a statement that is composed once: a page's question asks for its session twice."""

from __future__ import annotations

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models import CharField, DateTimeField
from django.utils import timezone

from chat.models.prepared import Select

_lasting = Select(
    Session,
    lambda key, now: Session.objects.filter(session_key=key, expire_date__gt=now),
    CharField(),
    DateTimeField(),
)


class SessionStore(db.SessionStore):
    """The same table and the same contents: sessions that other programs make by Django's own are sessions here."""

    def _get_session_from_db(self) -> Session | None:
        found = _lasting.first(self.session_key, timezone.now())
        if found is None:
            self._session_key = None
        return found
