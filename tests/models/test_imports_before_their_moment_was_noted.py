"""Conversations that were imported before the moment of an import was noted have none after the migration."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from chat.models import Conversation, ImportedConversation, User

BEFORE = ("chat", "0043_meters_to_count_again")


@pytest.mark.django_db(transaction=True)
def test_the_moment_of_the_migration_is_not_taken_for_the_imports() -> None:
    conversation = Conversation.objects.create(user=User.objects.create_user("ada"))
    graph = MigrationExecutor(connection).loader.graph
    MigrationExecutor(connection).migrate([BEFORE])
    try:
        rows = graph.make_state(BEFORE).apps.get_model("chat", "ImportedConversation").objects
        rows.create(conversation_id=conversation.pk, user_id=conversation.user_id, site="chatgpt", source_id="1")
    finally:
        MigrationExecutor(connection).migrate(graph.leaf_nodes("chat"))
    assert ImportedConversation.objects.get().imported_at is None
