"""The admin: records to be read, and what an administrator may set. Django imports this package by its name."""

from chat.admin import budgets, fallbacks, shares, site

__all__ = ["budgets", "fallbacks", "shares", "site"]
