"""An answer that ends well without a word says so, on the page and to programs, and can be asked for again."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

SILENT = [
    pytest.param(Script(text=""), "without writing a word", id="nothing"),
    pytest.param(Script(text=" \n\n"), "without writing a word", id="white space"),
    pytest.param(Script(text="", reasoning="Hm."), "thought about it", id="reasoning alone"),
    pytest.param(Script(text="", reasoning="Hm.", finish_reason="length"), "length limit", id="cut while thinking"),
    pytest.param(Script(text="<think>Hm.</think>"), "thought about it", id="thoughts in the text alone"),
]


@pytest.mark.parametrize(("script", "words"), SILENT)
async def test_a_sentence_says_so_streamed_and_reloaded(
    site: Site, provider: ProviderServer, model: str, script: Script, words: str
) -> None:
    provider.script = script
    answer = await site.begin(model=model)
    stream = await site.stream(f"/answers/{answer}/stream/?after=0")
    streamed = b"".join([chunk async for chunk in stream]).decode()
    found = await site.answer(answer)
    assert (found["status"], found["error"]) == ("complete", None)
    assert [notice["code"] for notice in found["notices"]] == ["empty"]
    assert words in found["notices"][0]["message"]
    page = (await site.get(f"/c/{found['conversation']}/")).content.decode()
    [remark] = re.findall(r'<p class="remark".*?</p>', page)
    assert found["notices"][0]["message"] in remark
    assert remark in streamed
    assert f"/answers/{answer}/retry/" in page
    told = [event for _, event in await site.read_events(answer) if event["type"] in ("notice", "done")]
    assert [event["type"] for event in told] == ["notice", "done"]
    assert told[0]["message"] == found["notices"][0]["message"]


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    "script",
    [
        Script(text="Hello."),
        Script(text="", status=400),
        Script(text="", finish_reason="content_filter"),
        Script(text="", drop_after=0),
    ],
    ids=["an answer", "a refusal", "a filter", "a cut"],
)
async def test_no_other_end_has_this_sentence(site: Site, provider: ProviderServer, model: str, script: Script) -> None:
    provider.script = script
    assert (await site.ask(model=model))["notices"] == []


async def test_a_continuation_without_any_text_says_so(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="One two three", chunk_size=4, drop_after=8), Script(text=""))
    failed = await site.ask("Count")
    await site.post(f"/api/answers/{failed['id']}/continue/")
    await site.read_events(failed["id"])
    whole = await site.answer(failed["id"])
    assert (whole["status"], whole["text"]) == ("complete", "One two ")
    assert "any more" in whole["notices"][0]["message"]
