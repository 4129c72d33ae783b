"""A check of the environment variables for certificates and proxies, which the providers' clients use.

The clients read them at the first question, and answer a wrong path or address with a traceback then.
"""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit

from chatsite import env
from chatsite.addresses import is_server_name

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def refuse_bad_network() -> None:
    """Stop the start where the providers' clients could not be made, or could reach nobody."""
    _check_certificates("SSL_CERT_FILE")
    _check_directories("SSL_CERT_DIR")
    for name in PROXIES:
        # Programs read both spellings, and the lower one wins.
        for value in (env.read_machine_text(name), os.environ.get(name.lower(), "").strip()):
            if value:
                _check_proxy(name, value)


def _check_certificates(name: str) -> None:
    value = env.read_machine_text(name)
    if not value:
        return
    try:
        ssl.create_default_context(cafile=value)
    except ssl.SSLError:
        env.refuse(name, f"names a file without certificates in the PEM format: {env.quote(value)}")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        env.refuse(name, f"names a file of certificates that cannot be read ({reason}): {env.quote(value)}")


def _check_directories(name: str) -> None:
    value = env.read_machine_text(name)
    if value and not any(os.path.isdir(path) for path in value.split(os.pathsep)):
        env.refuse(name, f"names no directory: {env.quote(value)}")


def _check_proxy(name: str, value: str) -> None:
    """Refuse an address that no client can use. It may hold a password, and is never repeated."""
    right = "must be the address of an HTTP proxy, such as http://proxy.example.org:3128"
    try:
        address = urlsplit(value if "://" in value else f"http://{value}")
        host, port = address.hostname, address.port
    except ValueError:
        env.refuse(name, right)
    if address.scheme not in ("http", "https"):
        env.refuse(name, f"{right}; one of SOCKS, or of another kind, is not spoken")
    is_plain = not (address.query or address.fragment) and address.path in ("", "/")
    is_text = value.isascii() and not any(letter.isspace() for letter in value)
    if not host or not is_server_name(host) or not is_plain or port == 0 or not is_text:
        env.refuse(name, right)
