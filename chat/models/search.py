"""The rows of the search index: one for each title, each question and each finished answer.

The words themselves stand where the database looks them up: in SQLite's FTS5 table `chat_searchwords`, whose rows have
the ids of these, and on PostgreSQL in a further column, `words`. `chat.search.index` writes both.
A trigger of SQLite removes the words with their entry. A migration that alters this table there makes it again without
the trigger, and has to create the trigger again, as 0029 did.
"""

from __future__ import annotations

from django.db import models

from chat.models.conversations import Conversation

# What few answers of a user end with; see `chat.search.postgres`.
RARE_STATUSES = ("interrupted", "stopped")


class SearchEntry(models.Model):
    """The fields of a title or a message that the index has besides its words; searches filter by them."""

    id = models.BigAutoField(primary_key=True)
    user_id = models.IntegerField()
    # Without a constraint in the database: a process of an older version, which does not know this table, deletes
    # conversations while a new one is being deployed. What it leaves here is no longer found, see `chat.search.hits`.
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, db_constraint=False, related_name="+")
    source = models.UUIDField(unique=True, help_text="The message; the conversation itself for its title.")
    role = models.CharField(max_length=9, help_text="Of the message; `title` for a title.")
    status = models.CharField(max_length=11, blank=True)
    model = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField()

    class Meta:
        indexes = (
            models.Index(fields=("user_id", "-id"), name="search_entries_of_a_user"),
            models.Index(
                fields=("user_id", "status", "-id"),
                condition=models.Q(status__in=RARE_STATUSES),
                name="search_entries_of_rare_status",
            ),
        )

    def __str__(self) -> str:
        return f"{self.role} {self.source}"
