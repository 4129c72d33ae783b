"""Tools: what models may call. A tool of one's own imports `Context` and `Result` from here."""

from chat.tools.base import Context, Result

__all__ = ["Context", "Result"]
