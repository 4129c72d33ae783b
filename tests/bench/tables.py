"""Figures as Markdown tables, on the screen and between markers in a page of the documentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

NONE = "-"


def compute_percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of the values; of no values, not a number."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table whose first column is text and whose others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    assert all(len(line) == len(head) for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(path: Path, section: str, text: str) -> None:
    """Put the text between the section's markers, `<!-- section -->` and `<!-- /section -->`; at the end of the page
    when it has none.
    """
    page = path.read_text() if path.exists() else ""
    start, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    block = f"{start}\n\n{text.strip()}\n\n{end}"
    if start in page:
        page = re.sub(f"{re.escape(start)}.*?{re.escape(end)}", lambda _: block, page, flags=re.DOTALL)
    else:
        page = f"{page.rstrip()}\n\n{block}\n".lstrip()
    path.write_text(page)
