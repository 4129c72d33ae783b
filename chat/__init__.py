"""The chat: one Django app, in packages by concern."""
