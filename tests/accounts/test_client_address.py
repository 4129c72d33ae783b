"""A client's address is the connection's; only a trusted proxy is believed when it names another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.accounts.addresses import find_client_address, find_network


@pytest.mark.parametrize(
    ("connection", "forwarded", "address"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # says it itself
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "10.9.9.9, 198.51.100.1", "198.51.100.1"),  # what the client sent stands before it
        ("127.0.0.1", "198.51.100.1, 127.0.0.1", "198.51.100.1"),  # two proxies of our own
        ("127.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("::1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:127.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, nonsense", "127.0.0.1"),
        ("", "198.51.100.1", "198.51.100.1"),  # a Unix socket
        ("", "", ""),
    ],
)
def test_a_forwarded_address_counts_only_behind_a_trusted_proxy(connection: str, forwarded: str, address: str) -> None:
    assert find_client_address({"REMOTE_ADDR": connection, "HTTP_X_FORWARDED_FOR": forwarded}) == address


@given(forged=st.text(), connection=st.ip_addresses().filter(lambda address: not address.is_loopback))
def test_nobody_else_chooses_an_address(forged: str, connection: object) -> None:
    given_ = {"REMOTE_ADDR": str(connection), "HTTP_X_FORWARDED_FOR": forged}
    assert find_client_address(given_) == find_client_address({"REMOTE_ADDR": str(connection)})


@given(forged=st.text(), real=st.ip_addresses(v=4).filter(lambda address: not address.is_loopback))
def test_addresses_that_a_client_adds_before_the_proxys_are_ignored(forged: str, real: object) -> None:
    assert find_client_address({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": f"{forged}, {real}"}) == str(real)


def test_a_subscriber_is_one_client() -> None:
    assert find_network("2001:db8:1:2:3::4") == find_network("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert find_network("198.51.100.1") == "198.51.100.1"
