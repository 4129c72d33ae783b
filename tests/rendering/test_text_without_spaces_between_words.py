"""Chinese and Japanese answers: emphasis beside full-width punctuation, ranges with a tilde, addresses in sentences."""

# ruff: noqa: RUF001 - full-width punctuation is what this is about
from __future__ import annotations

import pytest

from tests.support.streamed import read_words, render_inside, stream_pieces

REL = 'rel="noopener noreferrer nofollow"'

EMPHASIS = {
    "报告：**不变。**源码没有改。": "报告：<strong>不变。</strong>源码没有改。",
    "**“引号”**后面": "<strong>“引号”</strong>后面",
    "这是*强调*的。": "这是<em>强调</em>的。",
    "これは**「大事」**です。": "これは<strong>「大事」</strong>です。",
    "**（1）**第一": "<strong>（1）</strong>第一",
    "한국어**(강조)**입니다": "한국어<strong>(강조)</strong>입니다",
}


@pytest.mark.parametrize("text", EMPHASIS)
def test_emphasis_ends_at_full_width_punctuation(text: str) -> None:
    assert render_inside(text) == f"<p>{EMPHASIS[text]}</p>"
    for shown in stream_pieces(text):
        assert "*" not in shown


def test_emphasis_ends_at_full_width_punctuation_in_an_item() -> None:
    assert render_inside("- **注意：**正文") == "<ul><li><strong>注意：</strong>正文</li></ul>"


@pytest.mark.parametrize(
    "text",
    [
        "大约3~5天，价格100~200元。",
        "~one tilde~",
        "a ~b~ c ~ d",
        "**3~5** and *1~2*",
        "**(x)**~5 and ~**(y)**",
        "`~/bin` ~/bin",
        "H~2~O",
    ],
)
def test_one_tilde_is_a_tilde(text: str) -> None:
    for shown in stream_pieces(text):
        assert "<del>" not in shown
    assert read_words(render_inside(text)) == text.replace("*", "").replace("`", "")


def test_two_tildes_strike() -> None:
    assert render_inside("~~a~b~~ c") == "<p><del>a~b</del> c</p>"


def test_a_tilde_in_an_address_and_in_a_title_is_one() -> None:
    assert render_inside("https://a.b/~c") == f'<p><a href="https://a.b/~c" {REL}>https://a.b/~c</a></p>'
    assert render_inside('[x](https://a.b/~c "~d")') == f'<p><a href="https://a.b/~c" title="~d" {REL}>x</a></p>'


@pytest.mark.parametrize(
    ("address", "rest"),
    [
        ("https://example.com/a?b=1", "，谢谢"),
        ("https://example.com/a", "。下一句"),
        ("https://example.com/a", "、https"),
        ("https://example.com/a", "；然后"),
        ("https://example.com/a", "：说明"),
        ("https://example.com/a", "！"),
        ("https://example.com/a", "？"),
        ("https://example.com/a", "）和"),
        ("https://example.com/a", "（说明）"),
        ("https://example.com/a", "】【"),
        ("https://example.com/a", "」です"),
        ("https://example.com/a", "』"),
        ("https://example.com/a", "》"),
        ("https://example.com/a", "”后"),
        ("https://example.com/a", "’"),
        ("https://example.com/a", "»"),
        ("https://example.com/a", "…"),
        ("https://example.com/a", "——谢谢"),
        ("https://example.com/a", "، شكرا"),
        ("https://example.com/a", "؟"),
        ("https://example.com/a", "} x"),
        ("https://example.com/a", ".，x"),
        ("https://zh.wikipedia.org/wiki/中文", "。"),
        ("https://en.wikipedia.org/wiki/Michelson–Morley_experiment", "，x"),
        ("https://example.com/a_(b)", "，x"),
        ("https://example.com/{id}", "，x"),
        ("www.example.com", "，x"),
        ("http://a.b", "<br>x"),
    ],
)
def test_an_address_ends_at_punctuation_that_is_not_its_own(address: str, rest: str) -> None:
    *_, shown = stream_pieces(f"见 {address}{rest}")
    assert f">{address}</a>{rest}" in shown
    assert shown.count("<a ") == 1


def test_the_next_address_of_the_sentence_is_one_too() -> None:
    assert render_inside("https://a.b，https://c.d。").count("<a ") == 2


def test_an_address_in_a_link_is_left_alone() -> None:
    assert 'href="https://a.b/%EF%BC%88c%EF%BC%89"' in render_inside("[x](https://a.b/（c）)")
    assert 'href="https://a.b/%EF%BC%8Cc"' in render_inside("<https://a.b/，c>")
    assert render_inside("[https://a.b，c](https://d.e)") == f'<p><a href="https://d.e" {REL}>https://a.b，c</a></p>'


def test_code_keeps_the_text_beside_its_addresses() -> None:
    assert render_inside("`https://a.b，c ~d`") == "<p><code>https://a.b，c ~d</code></p>"
    assert "https://a.b，c ~d\n" in render_inside("```\nhttps://a.b，c ~d\n```")


def test_text_in_dead_scripts_stays_as_it_is() -> None:
    text = "\U00010a50\U00010a51 ~ $ <kbd>x</kbd> \U00012470"
    assert read_words(render_inside(text)) == text.replace("<kbd>", "").replace("</kbd>", "")
