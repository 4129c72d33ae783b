"""What HTML must not have."""

from __future__ import annotations

from html.parser import HTMLParser

TAGS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "em", "strong", "del", "a"),
    *("code", "pre", "table", "thead", "tbody", "tr", "th", "td", "div", "span", "button"),
    *("math", "mrow", "mi", "mn", "mo", "mtext", "msup", "msub", "msubsup", "mfrac", "msqrt", "mstyle", "mspace"),
}
ATTRIBUTES = {"href", "title", "rel", "start", "align", "class", "type", "xmlns", "display", "mathvariant", "stretchy"}
CLASSES = {"code", "code-head", "code-lang", "copy", "highlight", "tail", "stretch", "on"}


class Inspector(HTMLParser):
    """Collects what is there that ought not to be."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            self._check_attribute(tag, name, value or "")

    def _check_attribute(self, tag: str, name: str, value: str) -> None:
        if name not in ATTRIBUTES:
            self.found.append(f"{tag} {name}={value}")
        if name == "href" and not value.startswith(("https://", "http://", "mailto:")):
            self.found.append(f"href={value}")
        if name == "class" and not set(value.split()) <= CLASSES and tag != "span":
            self.found.append(f"class={value}")


def find_unsafe(html: str) -> list[str]:
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()
    return inspector.found
