"""Django's backend for SQLite, with one thing more: the writers of one process wait in a line."""
