"""MathML from TeX, as far as latex2mathml knows it; formulas that it does not know are shown as source."""

from __future__ import annotations

import re
from functools import lru_cache

from latex2mathml.converter import convert

# Environments and the names by which latex2mathml knows them. Equations have no numbers: nothing could refer to them.
_ENVIRONMENTS = {
    **dict.fromkeys(
        ("align", "align*", "aligned", "alignat", "alignat*", "alignedat", "flalign", "flalign*"), "align*"
    ),
    **dict.fromkeys(("eqnarray", "eqnarray*", "split"), "align*"),
    **dict.fromkeys(("gather", "gather*", "gathered", "multline", "multline*"), "gather"),
    **dict.fromkeys(("equation", "equation*", "displaymath", "math"), ""),
    **dict.fromkeys(("cases", "dcases", "cases*", "dcases*"), "cases"),
    **dict.fromkeys(("rcases", "drcases"), "rcases"),
    **{name: name for name in ("array", "smallmatrix")},
    "subarray": "matrix",
    **{f"{kind}matrix{star}": f"{kind}matrix" for kind in ("", "p", "b", "B", "v", "V") for star in ("", "*")},
}
_BEGIN = {"": " ", "gather": r"{\displaystyle \begin{matrix}", "rcases": r"\left.\begin{matrix}"}
_END = {"": " ", "gather": r"\end{matrix}}", "rcases": r"\end{matrix}\right\}"}
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([^{}]*)\}((?<=\*\})\s*\[\w\]|\s*\{[^{}]*\})?")
# Their argument is the number of columns or their alignment, which the table shows anyway.
_WITH_COLUMNS = {
    "alignat",
    "alignat*",
    "alignedat",
    "subarray",
    *(name for name in _ENVIRONMENTS if name.endswith("matrix*")),
}

_UNSEEN = re.compile(r"\\(?:label|require)\s*\{[^{}]*\}|\\(?:nonumber|notag|allowbreak|nobreak)(?![A-Za-z])")
_ROW_SPACE = re.compile(r"(\\\\)\s*\[\s*-?[\d.]+\s*(?:em|ex|pt|px|mu|cm|mm|in)\s*\]")
_WORDS = re.compile(r"\\(?:text[a-z]*|mbox|hbox|fbox)\s*\{[^{}]*\}")

_OPERATOR = re.compile(r"\\operatorname\*?\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\\[,;:! ]|~")

# latex2mathml does not escape these signs in words.
_SIGNS = {"<": "\ufdd1", ">": "\ufdd2", "&": "\ufdd3"}
_ESCAPED = {"\ufdd1": "&lt;", "\ufdd2": "&gt;", "\ufdd3": "&amp;"}
_PLAIN_AGAIN = (
    (re.compile(r">\\\{</mo>"), ">&#x7B;</mo>"),
    (re.compile(r">\\\}</mo>"), ">&#x7D;</mo>"),
    (re.compile(r">\\\|</mo>"), ">&#x2016;</mo>"),
    (re.compile(r"\\([%$#_{}])(?=[^<]*</mtext>)"), r"\1"),
)
# latex2mathml passes on unknown commands, and a lone brace or an ampersand outside of a table: then it is no formula.
_RAW = re.compile(r">[^<]*\\|>[&}]<|&#x;")
_NEW_LINE = '<mspace linebreak="newline" />'


@lru_cache(2048)
def convert_to_mathml(source: str, display: str) -> str | None:
    """Return the formula as MathML, or None if it cannot be shown as such. `display` is "inline" or "block".

    The result is cached: a paragraph that grows is rendered many times.
    """
    try:
        prepared = _prepare(source)
        if prepared is None:
            return None
        found = _convert(prepared, display)
        if _NEW_LINE in found:  # browsers know no line break in a formula
            found = _convert(_BEGIN["gather"] + prepared + _END["gather"], display)
    except Exception:
        return None
    return None if _RAW.search(found) or _NEW_LINE in found else found


def _convert(source: str, display: str) -> str:
    found = str(convert(source, display=display))
    for pattern, replacement in _PLAIN_AGAIN:
        found = pattern.sub(replacement, found)
    for sign, escaped in _ESCAPED.items():
        found = found.replace(sign, escaped)
    return found


def _prepare(source: str) -> str | None:
    """Return the source in terms that latex2mathml knows, or None if it has an unknown environment."""
    if any(sign in source for sign in _ESCAPED):
        return None
    source = _WORDS.sub(lambda found: "".join(_SIGNS.get(sign, sign) for sign in found[0]), source)
    source = _ROW_SPACE.sub(r"\1", _UNSEEN.sub("", source))
    source = _OPERATOR.sub(lambda found: rf"\operatorname{{{_SPACES.sub(' ', found[1])}}}", source)
    names = [found[2] for found in _ENVIRONMENT.finditer(source)]
    if any(name not in _ENVIRONMENTS for name in names):
        return None
    return _ENVIRONMENT.sub(_rename_environment, source)


def _rename_environment(found: re.Match[str]) -> str:
    side, name, argument = found[1], found[2], found[3] or ""
    known = _ENVIRONMENTS[name]
    if side == "begin" and name in _WITH_COLUMNS:
        argument = ""
    if known in _BEGIN:
        return (_BEGIN if side == "begin" else _END)[known] + argument
    return rf"\{side}{{{known}}}{argument}"
