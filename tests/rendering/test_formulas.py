"""A formula is shown as one; a price, a variable of a shell and unknown TeX are shown as they were
written; while it streams as when it is done.
"""

from __future__ import annotations

import pytest

from chat.rendering.document import render
from tests.support.streamed import read_words, render_inside, stream_pieces

TEXT = [
    "Set $HOME/bin:$PATH first.",
    "Progress: $VERIFIED_COUNT/$TOTAL_COUNT done.",
    "Use ${HOME}/bin:${PATH} or $(pwd):$(ls).",
    "Copy $SRC$DST and $A$B.",
    "foo($a, $b) and $a[$i][$j]; $x/$y",
    "echo $? $! $# and $1/$2",
    "It costs $5 and $10.",
    "From $10-$20, $10k–$20k, US$5/US$10.",  # noqa: RUF001 - a range
    "between $5 and 10$",
    "it is 5$-10$ each",
    "$30 (was $40)",
    "$AAPL,$TSLA and $MSFT",
    "a $ b $ c",
    "$$$ and $$$$",
    "one $",
    "`$a` $b `c$`",
]


@pytest.mark.parametrize("text", TEXT)
def test_prices_and_variables_are_text_from_their_first_sign(text: str) -> None:
    for shown in stream_pieces(text):
        assert "<math" not in shown
    assert read_words(render_inside(text)) == text.replace("`", "").replace("&", "&amp;")


@pytest.mark.parametrize(
    "text",
    ["Set $HOME/bin first.", "The value of $name is kept.", "Progress: $VERIFIED_COUNT done.", "Use ${HOME}/bin now."],
)
def test_a_variable_does_not_hold_back_what_follows(text: str) -> None:
    *_, growing, _ = stream_pieces(text)
    assert read_words(growing).endswith(text[-5:])


FORMULAS = [
    "$x$",
    "$n$th",
    "$2^k$th",
    "$f$(x)",
    "$x$'s",
    "($x$)",
    "$x$-axis",
    "$x$.",
    "$AB$",
    "$ABC$",
    "$ABC \\cong DEF$",
    "函数$f(x)$的",
    "$5 \\times 3$",
    "$5$",
    "$a\\$b$",
    "$a~b$",
    "$$ a $$",
    "\\(a\\)",
    "\\[a\\]",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_shown_as_one_and_stays_one(text: str) -> None:
    *growing, shown = stream_pieces(text)
    assert shown.count("<math") == 1
    assert "$" not in read_words(shown).replace("\\$", "").replace("<mi>$</mi>", "") or "\\$" in text
    is_shown = ["<math" in each for each in growing]
    assert is_shown == sorted(is_shown)  # from when it is one it stays one


def test_dollars_in_addresses_and_titles_stay() -> None:
    assert 'href="https://a.b/?$c=1&amp;$d=2"' in render("https://a.b/?$c=1&$d=2")
    assert 'title="$a$b"' in render('[x](https://a.b "$a$b")')


ENVIRONMENTS = [
    *("aligned", "align", "align*", "split", "gathered", "gather", "gather*", "multline", "equation", "equation*"),
    *("eqnarray", "cases", "dcases", "rcases", "matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix"),
    *("smallmatrix", "bmatrix*"),
]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_is_laid_out_in_rows(name: str) -> None:
    rows = "a = b \\\\ c = d" if name.startswith(("equation", "gather", "multline")) else "a &= b \\\\ c &= d"
    shown = render(f"$$\\begin{{{name}}} {rows} \\end{{{name}}}$$")
    assert "<math" in shown
    assert shown.count("<mtr>") == 2
    assert "&amp;" not in shown
    assert "begin" not in shown


@pytest.mark.parametrize("name", ["aligned", "align*", "split", "cases", "pmatrix", "alignedat}{2"])
def test_columns_are_cells(name: str) -> None:
    end = name.partition("}")[0]
    assert render(f"$$\\begin{{{name}}} a &= b \\\\ c &= d \\end{{{end}}}$$").count("<mtd") == 4


def test_sides_of_an_equation_meet_at_their_sign() -> None:
    shown = render(r"$$\begin{aligned} a &= b \\[4pt] c &= d \end{aligned}$$")
    assert shown.count('<mtd columnalign="right">') == shown.count('<mtd columnalign="left">') == 2
    assert "4" not in read_words(shown)


def test_environments_in_brackets_and_in_each_other() -> None:
    shown = render(
        r"$$f = \left\{\begin{array}{ll} 1 & x > 0 \\ \begin{matrix} a \\ b \end{matrix} & y \end{array}\right.$$"
    )
    assert "<math" in shown
    assert shown.count("<mtable") == 2


def test_a_line_break_outside_of_an_environment_is_one() -> None:
    assert render(r"$$a = b \\ c = d$$").count("<mtr>") == 2


@pytest.mark.parametrize(
    "formula",
    [
        r"\ce{H2O}",
        r"\foo x",
        r"\SI{1}{m}",
        r"a & b",
        r"\begin{tikzcd} a \end{tikzcd}",
        r"x}",
        r"\end{aligned}",
        r"\frac",
        r"\text{\foo}",
        r"\unicode{x}",
        r"\vspace{1em} x",
        "{" * 300,
    ],
)
def test_unknown_tex_shows_its_source_as_code(formula: str) -> None:
    shown = render_inside(f"$${formula}$$")
    assert shown == f"<p><code>{formula.replace('&', '&amp;')}</code></p>"


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (r"\text{if a<b & c>d, 50\%}", "if&nbsp;a&lt;b&nbsp;&amp;&nbsp;c&gt;d,&nbsp;50%"),
        (r"\big\{ x \big\}", "{x}"),
        (r"\operatorname*{arg\,max}_x f", "argmaxxf"),
        (r"x \nonumber \label{a}", "x"),
    ],
)
def test_tex_that_the_converter_gets_wrong_is_corrected(formula: str, said: str) -> None:
    shown = render_inside(f"${formula}$")
    assert "<math" in shown
    assert read_words(shown).replace(" ", "") == said
