"""Users, and the tokens of their programs."""

from __future__ import annotations

import hashlib
import secrets

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models

from chat.models.deadlocks import retry_after_deadlock


class User(AbstractUser):
    """The site's own user, so that later migrations may add to it."""

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete the user with what is theirs, as Django does, and let nothing more become theirs meanwhile.

        Django looks for all that refers to a row and deletes it after that. On PostgreSQL what came in between, such as
        a question, failed the deletion: whoever uses the site all the time could not be deleted. What is written to an
        answer that was not live a moment ago (a rating, Continue) has its locks in another order, which is a deadlock.
        """
        # That module needs this one.
        from chat.models.conversations import Conversation, lock_conversations  # noqa: PLC0415

        delete = super().delete

        def delete_locked() -> tuple[int, dict[str, int]]:
            lock_conversations(Conversation.objects.using(using).filter(user=self))
            list(User.objects.using(using).select_for_update().filter(pk=self.pk).values_list("pk"))
            return delete(using, keep_parents)

        return retry_after_deadlock(delete_locked, using)


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
