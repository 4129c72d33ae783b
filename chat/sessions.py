"""The users of the site's logins. Each session names this module's `Backend`, so it stays where it is."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.db.models import IntegerField
from django.http import HttpRequest

from chat.accounts import logins
from chat.accounts.addresses import find_client_address
from chat.models import User
from chat.models.compiled import Select

_user = Select(User, lambda pk: User.objects.filter(pk=pk), IntegerField())


class Backend(ModelBackend):
    """Django's own backend, with a brake on guessing passwords and with a prepared statement for a session's user.

    Django's own stands behind it in the settings, for sessions that other programs began; it never tries a wrong
    password once more, because this one refuses it for all backends.
    """

    def authenticate(self, request: HttpRequest | None, *args: Any, **kwargs: Any) -> User | None:
        """Return the user whose password this is.

        Raise `PermissionDenied` when it is nobody's, and when the brake on guessing refuses the try: a request that
        has not been through `chatsite.passwords` meets the brake here.
        """
        attempt = None if request is None or hasattr(request, "login_attempt") else _admit_try(request, args, kwargs)
        user = super().authenticate(request, *args, **kwargs)
        if request is not None:
            request.password_was_right = user is not None  # type: ignore[attr-defined]  # for `chatsite.passwords`
        if attempt is not None:
            (logins.record_wrong_password if user is None else logins.record_right_password)(attempt)
        if user is None:
            raise PermissionDenied
        return user

    async def aauthenticate(self, request: HttpRequest | None, *args: Any, **kwargs: Any) -> User | None:
        """Do the same in a thread: Django's own would hash on the event loop."""
        return await sync_to_async(self.authenticate)(request, *args, **kwargs)

    def get_user(self, user_id: int) -> User | None:
        user = _user.get_first(user_id)
        return user if user is not None and self.user_can_authenticate(user) else None


def _admit_try(request: HttpRequest, args: tuple[Any, ...], kwargs: dict[str, Any]) -> logins.Attempt:
    """Return a try that the brake lets through. Raise `PermissionDenied` otherwise."""
    name = args[0] if args else kwargs.get("username", kwargs.get(User.USERNAME_FIELD))
    attempt = logins.admit(str(name or ""), find_client_address(request.META))
    if attempt.refused_for:
        raise PermissionDenied
    return attempt
