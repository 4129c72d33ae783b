"""Users, and the tokens of their programs."""

from __future__ import annotations

import hashlib
import secrets

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """The site's own user, so that later migrations may add to it."""


class ApiToken(models.Model):
    """A bearer token, which gives a program its user's rights. Only its SHA-256 is kept."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, user: User, name: str) -> str:
        """Make a token and return it; it cannot be read again."""
        token = secrets.token_urlsafe(32)
        cls.objects.create(user=user, name=name, digest=cls.compute_digest(token))
        return token

    @staticmethod
    def compute_digest(token: str) -> str:
        return hashlib.sha256(token.encode()).hexdigest()
