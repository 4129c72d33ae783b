"""Lines of CSV, safe for the spreadsheets that open them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO
from typing import Any


def write_line(cells: Iterable[Any]) -> str:
    """Write cells as one line of CSV."""
    out = StringIO()
    csv.writer(out).writerow([cell if isinstance(cell, (int, float)) else quote_formula(cell) for cell in cells])
    return out.getvalue()


def quote_formula(cell: object) -> str:
    """Quote a text that a spreadsheet would take for a formula, as OWASP advises."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
