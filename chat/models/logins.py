"""Tallies of wrong passwords."""

from __future__ import annotations

from django.db import models


class LoginTally(models.Model):
    """The wrong passwords of one account from one network, of one network, or of one account.

    `chat.accounts.logins` counts them. `key` is a keyed hash: what is typed for a name may be a password.
    """

    key = models.CharField(max_length=64, primary_key=True)
    wrong = models.PositiveIntegerField(default=0)
    free_at = models.DateTimeField(help_text="When the next try is accepted.")
    known_until = models.DateTimeField(null=True, blank=True, help_text="Known until then by a correct password.")
    wrong_until = models.DateTimeField(db_index=True, help_text="When the failed tries are forgotten.")

    def __str__(self) -> str:
        return f"{self.wrong} wrong"
