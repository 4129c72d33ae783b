"""Strict readers of settings that are addresses: hosts, origins, and URLs of providers, databases and Redis.

None of them repeats a URL that it refuses: there may be a password in it.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import dj_database_url

from chatsite import env

SQLITE = "chatsite.sqlite3"  # Django's backend, whose writers wait in a line
POSTGRES_SCHEMES = ("postgres", "postgresql", "pgsql")
REDIS_SCHEMES = ("redis", "rediss", "unix")

# What a connection of Django's takes besides what the PostgreSQL client does.
DJANGO_OPTIONS = {"pool", "isolation_level", "assume_role", "server_side_binding", "service", "passfile"}
SQLITE_URL_OPTIONS = {"timeout", "transaction_mode", "init_command", "cached_statements"}
SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

# What these options may say, in lower case. Django and SQLite find anything else at the first query, and answer with a
# traceback.
_OPTION_WORDS = {
    "pool": ("true", "false"),
    "server_side_binding": ("true", "false"),
    "isolation_level": ("1", "2", "3", "4"),  # psycopg's numbers
    "transaction_mode": ("deferred", "immediate", "exclusive"),
}
_MOST_OF_OPTIONS = {"timeout": env.DAY, "cached_statements": 10_000}

# How the site's own Redis client reads what Redis says. A URL would win over it, and no reader could read an answer.
_OWN_REDIS_OPTIONS = {"protocol", "decode_responses", "encoding", "encoding_errors"}

# Names that PostgreSQL would cut off.
LONGEST_DATABASE_NAME = 63

_PASSWORD_HINT = "in a password write # as %23, / as %2F, ? as %3F, @ as %40 and % as %25"  # noqa: S105

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE | re.ASCII)
# Names inside a container network may have underscores, which no browser's host has.
_SERVER = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?", re.IGNORECASE | re.ASCII)

_MAIL_NAME = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.IGNORECASE | re.ASCII)

# Where the SDKs send their requests; a base URL that ends so is one to which the path is added twice.
_ENDPOINTS = ("/completions", "/responses", "/messages", "/models", "/embeddings")


def read_hosts(name: str, default: str) -> list[str]:
    """Return a comma list of hosts as Django compares them: a name, an address, `.name` with all below it, or `*`."""
    hosts = env.read_items(name, default)
    for host in hosts:
        if host != "*" and not _is_host(host.removeprefix(".")):
            env.refuse(
                name,
                "must list hosts such as chat.example.org, .example.org or [::1], without scheme, port or path, "
                f"not {env.quote(host)}",
            )
    return hosts


def read_origins(name: str) -> list[str]:
    """Return a comma list of origins as a browser sends them: scheme, host, and a port that is not the usual one."""
    return [_parse_origin(name, item) for item in env.read_items(name)]


def read_api_origins(name: str) -> list[str]:
    """Return the origins whose pages may call the API: exact ones, or `*` alone for all of them."""
    items = env.read_items(name)
    if items == ["*"]:
        return items
    for item in items:
        if "*" in item:
            env.refuse(name, f"must list exact origins, or be * alone, not {env.quote(item)}")
    return read_origins(name)


def _parse_origin(name: str, value: str) -> str:
    origin = value.lower()
    try:
        parts = urlsplit(origin)
        is_whole = f"{parts.scheme}://{parts.netloc}" == origin and "@" not in origin
        host = (parts.hostname or "").removeprefix("*.")
        host = f"[{host}]" if ":" in host else host
        is_usual_port = parts.port == {"http": 80, "https": 443}.get(parts.scheme)
        is_right = is_whole and parts.scheme in {"http", "https"} and _is_host(host) and not is_usual_port
        is_right = is_right and parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        is_right = False
    if not is_right:
        env.refuse(
            name,
            "must list origins such as https://chat.example.org or http://localhost:8080, without the usual port and "
            f"without a path, not {env.quote(value)}",
        )
    return origin


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return host.endswith("]") and _is_address(host[1:-1], version=6)
    if re.fullmatch(r"[\d.]+", host, re.ASCII):
        return _is_address(host, version=4)
    return len(host) <= 253 and _HOST.fullmatch(host) is not None


def _is_address(text: str, version: int) -> bool:
    try:
        return ip_address(text).version == version
    except ValueError:
        return False


def read_base_url(name: str, example: str) -> str:
    """Return the address that a provider's SDK adds its paths to, without a slash at its end; "" when not set."""
    url = env.read_text(name)
    if not url:
        return ""
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        env.refuse(name, f"is not a URL such as {example}")
    if parts.query or parts.fragment:
        env.refuse(name, f"must end before ? and #, such as {example}: paths are added to it")
    if parts.path.rstrip("/").endswith(_ENDPOINTS):
        env.refuse(name, f"must end before the name of a call, such as {example}: paths are added to it")
    return url.rstrip("/")


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL, or None for one that has no valid host and port."""
    if not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host, port = unquote(parts.hostname or ""), parts.port
        is_socket = host.startswith("/") and parts.scheme in POSTGRES_SCHEMES
        is_server = not host or is_socket or is_server_name(host)
        is_ported = port != 0 and not parts.netloc.endswith(":")
        return parts if is_server and is_ported else None
    except ValueError:
        return None


def is_server_name(host: str) -> bool:
    """Return whether it is the name or the address of a server, as `urlsplit` reads it from a URL."""
    return ":" in host or _SERVER.fullmatch(host) is not None


def read_redis_url(name: str) -> str:
    """Return the URL of a Redis, or "" when not set. Whatever the client would refuse at its first use is refused."""
    url = env.read_text(name)
    if not url:
        return ""
    parts = _split(url)
    if parts is None or parts.scheme not in REDIS_SCHEMES or "://" not in url or parts.fragment:
        env.refuse(name, f"is not a URL such as redis://host:6379/0; {_PASSWORD_HINT}")
    if parts.scheme == "unix":
        if not parts.path.strip("/") or parts.netloc.rpartition("@")[2]:
            env.refuse(name, "must name a socket, such as unix:///run/redis/redis.sock?db=0")
    elif not re.fullmatch(r"/?|/\d{1,9}", parts.path, re.ASCII):
        env.refuse(name, "must end with the number of a database, such as redis://host:6379/0")
    if own := sorted(_OWN_REDIS_OPTIONS & parse_qs(parts.query, keep_blank_values=True).keys()):
        env.refuse(name, f"has an option after its ? that the site sets itself: {', '.join(own)}; leave it out")
    _try_redis_client(name, url)
    return url


def find_redis_database(url: str) -> int:
    """Return the number of the database that a Redis URL names in its path or its options."""
    from redis.asyncio.connection import parse_url  # noqa: PLC0415 - as below

    return int(parse_url(url).get("db", 0))


def _try_redis_client(name: str, url: str) -> None:
    # A tenth of a second of imports, which a site without Redis does not pay.
    from redis.asyncio import ConnectionPool  # noqa: PLC0415

    try:
        ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    except Exception:
        env.refuse(name, "has an option after its ? that the Redis client does not take")


def read_database(name: str, default: Path) -> dict[str, Any]:
    """Return a database as Django's DATABASES has it: PostgreSQL by its URL, or an SQLite file, `default` if not set.

    An SQLite file is tried: the site has to be able to write it, and beside it.
    """
    url = env.read_text(name)
    if not url:
        _check_sqlite_file(name, default, f"is not set, and its default, {default},")
        return {"ENGINE": SQLITE, "NAME": str(default)}
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        return _read_sqlite(name, url)
    parts = _split(url)
    if parts is None or scheme not in POSTGRES_SCHEMES or "://" not in url or parts.fragment:
        env.refuse(
            name,
            "is not a URL that the site can use, such as postgres://user:password@host:5432/name or "
            f"sqlite:////var/lib/chatsite/site.sqlite3; {_PASSWORD_HINT}",
        )
    return _read_postgres(name, url)


def _read_postgres(name: str, url: str) -> dict[str, Any]:
    # Imported by Django right after this, and not at all on SQLite.
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    try:
        database: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError:  # of a number in digits that Python does not read, such as ²
        env.refuse(name, "has an option after its ? that cannot be read")
    options = database.get("OPTIONS", {})
    if not 0 < len(database["NAME"]) <= LONGEST_DATABASE_NAME and "service" not in options:
        env.refuse(name, f"must end with the name of a database, of at most {LONGEST_DATABASE_NAME} characters")
    _check_option_values(name, options)
    try:
        make_conninfo("", **{key: value for key, value in options.items() if key not in DJANGO_OPTIONS})
    except ProgrammingError:
        env.refuse(name, "has an option after its ? that PostgreSQL does not know")
    if options.get("sslmode", "prefer") not in SSL_MODES:
        env.refuse(name, f"must have an sslmode of {', '.join(sorted(SSL_MODES))}")
    return database


def _check_option_values(name: str, options: Mapping[str, Any]) -> None:
    """Refuse an option after the ? of a database's URL that is there twice, or says what it cannot mean."""
    for option, value in options.items():
        if isinstance(value, list):
            env.refuse(name, f"has the option {option} twice")
        word = str(value).lower()
        words = _OPTION_WORDS.get(option, (word,))
        if word not in words:
            env.refuse(name, f"must have {' or '.join(words)} as {option}")
        most = _MOST_OF_OPTIONS.get(option)
        if most is not None and not (word.isdigit() and int(word) <= most):
            env.refuse(name, f"must have a whole number up to {most:,} as {option}")


def _read_sqlite(name: str, url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        database: dict[str, Any] = dict(dj_database_url.parse(url, engine=SQLITE))
    except ValueError:
        parts, database = urlsplit(""), {}
    path = database.get("NAME", "")
    if parts.netloc or parts.fragment or "\0" in path or path in {"", ":memory:"}:
        # Each thread has a connection of its own, and would have a database of its own in memory.
        env.refuse(name, "must name a file, with three slashes or four: sqlite:////var/lib/chatsite/site.sqlite3")
    if unknown := database.get("OPTIONS", {}).keys() - SQLITE_URL_OPTIONS:
        env.refuse(name, f"has an option that SQLite does not know: {env.quote(min(unknown))}")
    _check_option_values(name, database.get("OPTIONS", {}))
    _check_sqlite_file(name, Path(path), f"names {env.shorten(path)}, which")
    return database


def _check_sqlite_file(name: str, path: Path, what: str) -> None:
    """Refuse a file that the site cannot use. SQLite writes its journal beside it, so its directory takes files."""
    if os.path.isdir(path):  # `Path.is_dir` raises where the site's user may not look
        env.refuse(name, f"{what} is a directory")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        env.refuse(name, f"{what} cannot be written: {error.strerror}; name a file in a directory of the site's user")


def read_webhook(name: str) -> str:
    """Return the URL that alerts are posted to, "" when not set."""
    url = env.read_text(name)
    if not url:
        return ""
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        env.refuse(name, "is not a URL such as https://hooks.example.org/chatsite, without a user or password")
    return url


def read_mail_addresses(name: str, default: str = "") -> list[str]:
    """Return a comma list of mail addresses; with a default, exactly one."""
    found = env.read_items(name, default)
    for address in found:
        if not _is_mail_address(address):
            env.refuse(name, f"must be a mail address such as admin@example.org, not {env.quote(address)}")
    if default and len(found) != 1:
        env.refuse(name, "must be one mail address")
    return found


def _is_mail_address(text: str) -> bool:
    """Return whether mail can be sent there. The name is RFC 5322's without quotes, a host may have any script."""
    name, _, host = text.rpartition("@")
    try:
        ascii_host = host.encode("idna").decode()
    except UnicodeError:
        return False
    return text.isprintable() and _MAIL_NAME.fullmatch(name) is not None and _is_host(ascii_host)


class MailServer(NamedTuple):
    """A server that takes mail; without a host there is none."""

    scheme: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""


_MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


def read_mail_url(name: str) -> MailServer:
    """Return the server that takes mail: `smtp://`, `smtp+tls://` (STARTTLS) or `smtps://`."""
    url = env.read_text(name)
    if not url:
        return MailServer()
    parts = _split(url)
    if parts is None or parts.scheme not in _MAIL_PORTS or not parts.hostname or parts.path.strip("/"):
        env.refuse(name, f"is not a URL such as smtp+tls://user:password@mail.example.org:587; {_PASSWORD_HINT}")
    port = parts.port or _MAIL_PORTS[parts.scheme]
    return MailServer(parts.scheme, parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""))
