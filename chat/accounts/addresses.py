"""The client's address of a request, also behind a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings

Address = IPv4Address | IPv6Address

# Longer chains of proxies are a client's invention.
MAX_PROXIES = 20

# The prefix of an IPv6 subscriber's network, in bits: they may use any of its addresses.
SUBSCRIBER_BITS = 64


def find_client_address(meta: Mapping[str, Any]) -> str:
    """Return the client's address from a request's `META`, or "" when there is none.

    Only a proxy of `CHAT_TRUSTED_PROXIES`, or one on a Unix socket, is believed what `X-Forwarded-For` says. The header
    is read from its end, which the last proxy wrote, up to the first address that is no trusted proxy's.
    """
    address = _parse_address(str(meta.get("REMOTE_ADDR") or ""))
    forwarded = str(meta.get("HTTP_X_FORWARDED_FOR") or "").split(",")[-MAX_PROXIES:]
    while forwarded and (address is None or _is_trusted(address)):
        nearer = _parse_address(forwarded.pop())
        if nearer is None:
            break
        address = nearer
    return "" if address is None else str(address)


def find_network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    parsed = _parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, SUBSCRIBER_BITS), strict=False))
    return str(parsed or "")


def _parse_address(text: str) -> Address | None:
    """Return the address in `text`, which may have a port, as some proxies write it."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.CHAT_TRUSTED_PROXIES)
