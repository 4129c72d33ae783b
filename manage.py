#!/usr/bin/env python
"""Django's command line for this site."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import DatabaseError, InterfaceError


def main() -> None:
    """Run a command. What its user or its surroundings ended is told in one line, unless --traceback wants all of it.

    That is a reader who has closed the pipe (`| head`), Ctrl+C, a full disk, an argument that is no UTF-8, and a
    database that cannot be reached or has no tables yet.
    """
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end("Stopped.", 130)
    except (DatabaseError, InterfaceError, OSError, UnicodeEncodeError) as error:
        if "--traceback" in sys.argv:
            raise
        _end(_describe(error), 1)


def _describe(error: Exception) -> str:
    if isinstance(error, BrokenPipeError):
        return "Stopped, because nobody reads the output any more."
    if isinstance(error, UnicodeEncodeError):
        return f"This cannot be written as {error.encoding}: {error.object!r}"
    words = " ".join(str(error).split())
    if isinstance(error, OSError):
        return words
    has_no_table = "no such table" in words or "does not exist" in words
    return f"The database says: {words}" + "; `manage.py migrate` makes its tables" * has_no_table


def _end(sentence: str, code: int) -> None:
    sys.stderr.write(f"{sentence}\n")
    # Python flushes the output once more when it ends, and would complain of the same pipe or disk.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Give a command that was started with its output closed (`>&-`) one that nobody reads: Python has none then."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end


if __name__ == "__main__":
    _open_what_is_closed()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")
    main()
