"""How many files a process may have open: a live answer needs one for its reader and one for its provider."""

from __future__ import annotations

import resource
from contextlib import suppress

# What the unit in `deploy/` gives. A shell's default is 1,024 of the thousands that the system would allow: enough for
# fewer than 512 live answers.
WANTED = 65_536


def allow_many_open_files() -> None:
    """Raise this process's own limit of open files to `WANTED`, or as far as the system lets it."""
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if highest == resource.RLIM_INFINITY else min(WANTED, highest)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        with suppress(OSError, ValueError):  # a system may have a limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, highest))
