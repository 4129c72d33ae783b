from django.db import migrations

# Nothing waits for the index: it is built beside what is written, by statements that no transaction may hold. Each may
# be repeated, for a migration that was broken off.
POSTGRESQL = (
    "ALTER TABLE chat_searchentry ADD COLUMN IF NOT EXISTS pairs smallint[]",
    # Words of more than 2 KB are kept beside the table, and not compressed: a table of short rows is read in half the
    # time, and so are the words of a thousand entries.
    "ALTER TABLE chat_searchentry ALTER COLUMN words SET STORAGE EXTERNAL",
    "ALTER TABLE chat_searchentry SET (toast_tuple_target = 128)",
    "DROP INDEX IF EXISTS search_words_and_pairs",
    """
    CREATE INDEX CONCURRENTLY search_words_and_pairs ON chat_searchentry USING gin (words, pairs)
    WITH (gin_pending_list_limit = 256)
    """,
    "DROP INDEX CONCURRENTLY IF EXISTS search_words",
    "DROP INDEX IF EXISTS search_entries_without_pairs",
    """
    CREATE INDEX CONCURRENTLY search_entries_without_pairs ON chat_searchentry (user_id, id DESC)
    WHERE pairs IS NULL
    """,
)
NO_POSTGRESQL = (
    "DROP INDEX IF EXISTS search_words",
    "CREATE INDEX CONCURRENTLY search_words ON chat_searchentry USING gin (words) WITH (gin_pending_list_limit = 256)",
    "ALTER TABLE chat_searchentry DROP COLUMN IF EXISTS pairs",
    "ALTER TABLE chat_searchentry ALTER COLUMN words SET STORAGE EXTENDED",
    "ALTER TABLE chat_searchentry RESET (toast_tuple_target)",
)


def add_pairs(apps, schema_editor):
    """Add the pairs of words, which only PostgreSQL needs; `chat.search.index.sweep` fills them in."""
    if schema_editor.connection.vendor == "postgresql":
        for statement in POSTGRESQL:
            schema_editor.execute(statement)


def remove_pairs(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statement in NO_POSTGRESQL:
            schema_editor.execute(statement)


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0037_search_of_rare_status'),
    ]

    operations = [
        migrations.RunPython(add_pairs, remove_pairs),
    ]
