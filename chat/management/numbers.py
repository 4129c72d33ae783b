"""Numbers that an operator writes on a command line."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable

# What a column of the database holds.
LARGEST = 2**63 - 1


def make_parser(what: str, *, least: int = 1, most: int = LARGEST) -> Callable[[str], int]:
    """Return a type for argparse that takes whole numbers of these bounds; `what` names them in the complaint."""

    def parse(text: str) -> int:
        # `int` takes digits of other scripts and 1_000 too, and raises for more than 4,300 of them.
        if not re.fullmatch(r"\d{1,19}", text, re.ASCII) or not least <= int(text) <= most:
            bounds = f"of at least {least:,}" if most == LARGEST else f"from {least:,} to {most:,}"
            raise ArgumentTypeError(f"{text[:40]!r} is not {what} {bounds}")
        return int(text)

    return parse
