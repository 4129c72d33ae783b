"""Sites that share a Redis do not hear each other's notices, which hold titles: it publishes to all its databases."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.configurations import SettingsReader


@pytest.fixture(scope="module")
def read_settings() -> Iterator[SettingsReader]:
    with SettingsReader() as reader:
        yield reader


def name_channels(read_settings: SettingsReader, key: str, url: str) -> str:
    layers = ast.literal_eval(read_settings({"SECRET_KEY": key, "REDIS_URL": url}).settings["CHANNEL_LAYERS"])
    return str(layers["default"]["CONFIG"]["prefix"])


def test_every_site_has_channels_of_its_own(read_settings: SettingsReader) -> None:
    sites = [("one", "redis://h/0"), ("two", "redis://h/0"), ("one", "redis://h/1"), ("one", "unix:///run/r.sock?db=2")]
    assert len({name_channels(read_settings, *site) for site in sites}) == len(sites)


def test_the_processes_of_a_site_share_theirs_by_whichever_address_they_reach_redis(
    read_settings: SettingsReader,
) -> None:
    urls = ("redis://h/1", "rediss://u:p@10.0.0.1:6380/1", "redis://h?db=1", "unix:///run/r.sock?db=1")
    [name] = {name_channels(read_settings, "one", url) for url in urls}
    assert name.startswith("chat"), "an ACL of an operator's may let the site use &chat* alone"
