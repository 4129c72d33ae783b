"""The page where people log in."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.contrib.auth.views import LoginView
from django.http import HttpRequest


class LoginPage(LoginView):
    """Django's, which fails where it is asked to lead back to itself somebody who is logged in."""

    redirect_authenticated_user = True

    def get_redirect_url(self, *given: HttpRequest) -> str:  # type: ignore[override]  # Django 6.1 gives the request
        """Return the address that `next` asks for; "" for none, for another site's, and for this page's own."""
        url = super().get_redirect_url(*given)
        return "" if urlsplit(url).path == self.request.path else url
