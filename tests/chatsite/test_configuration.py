"""A bad setting stops the start with one clear line, a misspelt one is warned of, and every setting is explained in
docs/configuration.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.configurations import SettingsReader, Start
from tests.support.server import ROOT

# Bad for every setting: bytes that are no text.
NO_TEXT = b"\xff\xfe"

NUMBERS = ("x", "-1", "nan", "inf", "-inf", "1e99", "1_0", "\N{FULLWIDTH DIGIT ONE}", "9" * 5000, "0x10", "1,5")
WHOLE = (*NUMBERS, "1.5")
SECRETS = (
    "two words",
    "sk-\N{CYRILLIC SMALL LETTER ES}",
    '"quoted"',
    "line\nbreak",
    "${KEY}",
    "$API_KEY",
    "<your-key>",
    "KEY=x",
)
BASE_URLS = (
    *(
        "zz",
        "api.example.org/v1",
        "http://",
        "ftp://host/v1",
        "http://host:port/v1",
        "http://host:0/v1",
        "http://host:/v1",
    ),
    *("http://ho st/v1", "http://host:99999/v1", "http://host/v1?version=2", "http://host/v1#x", "http://[::1/v1"),
    *(
        "https://host/v1/chat/completions",
        "https://host/v1/messages/",
        "http://host/v1/models",
        "https://h\N{LATIN SMALL LETTER O WITH DIAERESIS}st/v1",
    ),
)
FIGURES = (
    *("gpt-4o=8000", "openai:=8", "openai:a", "openai:a=", "openai:a=0", "openai:a=-1", "openai:a=many", "nobody:a=1"),
    *("openai:a=1.5", "openai:a=9999999999", "openai:a=1,openai:a=2", ",", "openai:a=nan"),
)

PROXIES = (
    *("http://", "socks5://h:1080", "ftp://h", "http://h:port", "http://h:0", "http://h:99999", "http:/h:3128"),
    *("http://h/path", "http://h?x=1", "h h:3128", "http://[::1", "https:h"),
    *("a,b", "h;3128", "http://h|x", "http://h..x", "${PROXY}", "<proxy>", "http://${HOST}:3128"),
)

# By setting, values that stop the start. A setting that is not here fails `test_every_setting_has_bad_values`.
BAD: dict[str, tuple[str | bytes, ...]] = {
    "SECRET_KEY": ("${SECRET_KEY}", "$SECRET_KEY", "<your-key>", "SECRET_KEY=x"),
    "SECRET_KEY_FALLBACKS": (",",),
    "DEBUG": ("maybe", "2", "-1", "nan"),
    "ALLOWED_HOSTS": (
        *(
            "https://chat.example.org",
            "chat.example.org:8000",
            "chat.example.org/",
            "*.example.org",
            "::1",
            "[::1",
            "[x]",
        ),
        *(
            "a b",
            "a..b",
            "-a",
            "chat_1",
            "256.0.0.1",
            "1.2.3",
            ",",
            ".",
            "good.example.org, user@host",
            "b\xfccher.example",
        ),
    ),
    "CHAT_API_ORIGINS": ("chat.example.org", "https://*.example.org", "*,https://a.example.org", "https://host:443"),
    "CSRF_TRUSTED_ORIGINS": (
        *("chat.example.org", "https://", "https://chat.example.org/", "https://chat.example.org/chat", "ftp://host"),
        *(
            "https://host:port",
            "https://host:443",
            "http://host:80",
            "https://host:",
            "https://u@host",
            "https://h?x",
            ",",
        ),
        *("https://host:0", "//chat.example.org", "https://*", "https://a_b", "null"),
    ),
    # The last one is right behind TLS alone.
    "SECURE_HSTS_SECONDS": (*WHOLE, "soon", "60"),
    "CHAT_LOGIN_TRIES": (*WHOLE, "2000000"),
    "CHAT_LOGIN_ADDRESS_TRIES": (*WHOLE, "0", "2000000"),
    "CHAT_TRUSTED_PROXIES": ("nginx", "10.0.0.1/8", "none, 10.0.0.0/8", ","),
    "DATABASE_URL": (
        *("nonsense", "mysterydb://host/name", "mysql://u:p@host/name", "mysql2://host/n", "oracle://host/n"),
        *("postgis://host/n", "postgres://u:pa#ss@host/n", "postgres://u:pa/ss@host/n", "postgres://u:pa?ss@host/n"),
        *("postgres://u:p@host:port/n", "postgres://u:p@host:0/n", "postgres://u:p@host:70000/n", "postgres://host"),
        *("postgres://host/", f"postgres://host/{'n' * 64}", "postgres://host/n?sslmod=require", "postgres:/host/n"),
        *("postgres://host/n?sslmode=maybe", "postgres://[::1/n", "postgres://ho st/n", "/var/lib/site.sqlite3"),
        *("sqlite://", "sqlite:///", "sqlite://:memory:", "sqlite:///:memory:", "sqlite://var/lib/site.sqlite3"),
        *("sqlite:////", "sqlite:////proc/site.sqlite3", "sqlite:////no/such/directory/site.sqlite3"),
        *("sqlite:////dev/null/site.sqlite3", "sqlite:///site.sqlite3?timeot=3", "sqlite:///a%00b", "sqlite:///#x"),
        *(f"postgres://host/n?{option}" for option in ("pool=maybe", "pool=1", "isolation_level=serializable")),
        *(f"postgres://host/n?{option}" for option in ("server_side_binding=2", "sslmode=require&sslmode=prefer")),
        *(f"sqlite:///s?{option}" for option in ("timeout=30s", "timeout=-1", "timeout=1.5", "timeout=true")),
        *(f"sqlite:///s?{option}" for option in ("timeout=100000", "transaction_mode=NOW", "cached_statements=x")),
        f"sqlite:////tmp/{'s' * 300}",
    ),
    "REDIS_URL": (
        *("localhost:6379", "redis:localhost", "http://host:6379/0", "redis://host:port/0", "redis://host:0/0"),
        *("redis://host:70000/0", "redis://host:6379/abc", "redis://host:6379/-1", "redis://host:6379/0/1"),
        *("redis://host/0?colour=red", "redis://host/0?socket_timeout=soon", "redis://:pa#ss@host/0", "redis://[::1/0"),
        *(f"redis://host/0?{option}" for option in ("protocol=3", "decode_responses=true", "encoding=latin-1")),
        *("redis://:pa/ss@host:6379/0", "unix://", "unix://host/run/redis.sock", "rediss://ho st/0", "redis://host:/0"),
    ),
    "OPENAI_API_KEY": SECRETS,
    "ANTHROPIC_API_KEY": SECRETS,
    "CHAT_METRICS_TOKEN": SECRETS,
    "OPENAI_BACKGROUND": ("maybe", "2"),
    "OPENAI_API": ("completions", "Responses", "auto,chat"),
    "OPENAI_BASE_URL": BASE_URLS,
    "ANTHROPIC_BASE_URL": BASE_URLS,
    "ANTHROPIC_THINKING_TOKENS": (*WHOLE, "5", "1023", "9999999"),
    "CHAT_MODELS": (
        *("gpt-4o", "nobody:model", "openai:", ":gpt-4o", "openai:gpt-4o", "anthropic:claude", "demo:a b", ","),
        *("demo:tour,gpt", f"demo:{'x' * 200}", "Demo:tour", "demo:tour openai:gpt-4o", "demo:\x1b[2J"),
        *("demo:\N{RIGHT-TO-LEFT OVERRIDE}tour", "demo:tour=high"),
    ),
    "CHAT_TITLE_MODEL": ("nobody:small", "openai:", "demo", "openai:gpt-4o", "demo:a b", f"demo:{'x' * 200}"),
    "CHAT_SYSTEM_PROMPT": (),
    "CHAT_CONTEXT_WINDOWS": FIGURES,
    "CHAT_MAX_TOKENS": FIGURES,
    "CHAT_MODEL_OPTIONS": (
        *(
            "{",
            "[]",
            "1",
            '{"demo:m": {}, "demo:m": {"tools": false}}',
            '{"openai:m": 1}',
            '{"m": {}}',
            '{"nobody:m": {}}',
            '{"openai:m": {"colour": 1}}',
        ),
        *('{"openai:m": {"tools": "no"}}', '{"openai:m": {"longest_output": 0}}', '{"openai:m": {"api": "soap"}}'),
        *(
            '{"openai:m": {"efforts": ["huge"]}}',
            '{"openai:m": {"retires_on": "soon"}}',
            f'{{"demo:{"x" * 300}": {{}}}}',
        ),
    ),
    "CHAT_EFFORT": (
        "high",
        "gpt-5=high",
        "openai:=high",
        "openai:gpt-5=",
        "openai:gpt-5=much",
        "demo:a=low,demo:a=high",
    ),
    "CHAT_FALLBACKS": (
        *("demo:tour", "demo:tour=", "demo:tour=tour", "=demo:tour", "demo:tour>demo:b", "demo:tour=demo:tour", ","),
        *("demo:tour=demo:elsewhere", "demo:elsewhere=demo:tour", "demo:tour=>demo:tour", "nobody:x=demo:tour"),
    ),
    "CHAT_PRICES": (
        *("openai:gpt-4o=cheap", "demo:tour=-100/-200", "demo:tour=NaN/1", "demo:tour=1/NaN", "demo:tour=sNaN/1"),
        *("demo:tour=Infinity/1", "demo:tour=1/-Infinity", "demo:tour=1e9/1", "demo:tour=1/10000.01", "demo:tour=1"),
        *(
            "demo:tour=1/2/3/4/5/6/7",
            "demo:tour=1/2/",
            "demo:tour=/1",
            "demo:tour=1/2/-3",
            "gpt-4o=1/2",
            "nobody:x=1/2",
            "=1/2",
        ),
        *(
            "demo:=1/2",
            "demo:tour=1_0/2",
            "demo:tour=$1/$2",
            "demo:tour=1/2,demo:tour=2/3",
            "demo:tour=1/2;demo:other=2/3",
            "demo:tour",
            "demo:tour=1e999999999/1",
        ),
    ),
    "CHAT_TOOLS": (
        "calculator",
        "chat.tools.",
        ".x.y",
        "chat tools.clock",
        "chat.tools:clock",
        "1a.b",
        ",",
        "none,chat.tools.a",
    ),
    "CHAT_TOOL_STEPS": (*WHOLE, "0", "1001"),
    "CHAT_TOOL_TIMEOUT": (*NUMBERS, "0", "100000"),
    "CHAT_MCP": ("{", "[]", "1", '{"files": 1}', '{"files": null}', "[" * 100_000, "files", '{"a": {}, "a": {}}'),
    "CHAT_FIRST_TOKEN_TIMEOUT": (*NUMBERS, "0", "100000"),
    "CHAT_IDLE_NOTICE": (*NUMBERS, "0", "100000", "soon"),
    "CHAT_IDLE_TIMEOUT": (*NUMBERS, "0", "100000"),
    "CHAT_THINKING_TIMEOUT": (*NUMBERS, "0", "100000"),
    "CHAT_TOTAL_TIMEOUT": (*NUMBERS, "0", "100000"),
    "CHAT_LIVE_ANSWERS": (*WHOLE, "0", "1000000"),
    "CHAT_WAITING_ANSWERS": (*WHOLE, "10000000"),
    "CHAT_ABANDON_AFTER": (*NUMBERS, "100000"),
    "CHAT_LEASE": (*NUMBERS, "0.5", "4000", "1"),
    "CHAT_CHECKPOINT": (*NUMBERS, "0", "61", "5"),
    "CHAT_FLUSH_MS": (*WHOLE, "10001"),
    "CHAT_ONE_CORE": ("maybe", "2"),
    "CHAT_DRAIN": (*NUMBERS, "100000"),
    "CHAT_FINISH_LOST": (*WHOLE, "101"),
    "CHAT_JOURNAL": (
        "answers",
        "./answers",
        "/dev/null",
        "/dev/null/answers",
        "/no/such/directory/answers",
        f"/{'a' * 300}",
    ),
    "CHAT_EXCHANGE_DIRECTORY": (
        "files",
        "./files",
        "/dev/null",
        "/dev/null/files",
        "/no/such/directory/files",
        f"/{'a' * 300}",
    ),
    "CHAT_IMPORT_MB": (*WHOLE, "0", "2001"),
    "CHAT_USER_EXCHANGES": (*WHOLE, "0", "101"),
    "CHAT_FINISH_BROKEN": (*WHOLE, "101"),
    "CHAT_HEAD_TIMEOUT": (*NUMBERS, "0"),
    "CHAT_BODY_TIMEOUT": (*NUMBERS, "0"),
    "CHAT_HEARTBEAT": (*NUMBERS, "0", "60"),
    "CHAT_MAX_ANSWER_CHARS": (*WHOLE, "0", "1000000000"),
    "CHAT_REFUSAL_MEMORY": (*NUMBERS, "40000000"),
    "CHAT_MAX_RETRIES": (*WHOLE, "101"),
    "CHAT_STAFF_RETRIES": (*WHOLE, "0", "1001"),
    "CHAT_FAILING_PERCENT": (*WHOLE, "101"),
    "CHAT_MAX_PROMPT_CHARS": (*WHOLE, "0", "100000000", "lots"),
    "CHAT_USER_REQUESTS_PER_MINUTE": (*WHOLE, "3000000000"),
    "CHAT_USER_STREAMS": (*WHOLE, "3000000000"),
    "CHAT_USER_TOKENS_PER_DAY": (*WHOLE, "1e6", str(10**16)),
    "CHAT_USER_COST_PER_MONTH": (*NUMBERS, "$5", "1000000"),
    **dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), PROXIES),
    "SSL_CERT_FILE": ("/nonexistent.pem", "/", str(ROOT / "README.md"), "/etc/passwd/x"),
    "SSL_CERT_DIR": ("/nonexistent", str(ROOT / "README.md"), f"/{'a' * 300}"),
    "CHAT_TIME_ZONE": ("Mars/Olympus", "Berlin", "../etc/passwd", "/etc/localtime"),
    "CHAT_REPORT_MAIL": ("nobody", "a@b c@d", "boss@example.org"),
    "CHAT_ALERT_MAIL": ("nobody", "a@b c@d", "admin@example.org"),  # the last has no server to take it
    "CHAT_ALERT_WEBHOOK": ("hooks.example.org", "ftp://h/x", "https://u:p@h/x", "https://h/x"),  # the last has no key
    "CHAT_ALERT_SECRET": ("with blank", "schlüssel"),
    "CHAT_ALERT_PRIVATE": ("maybe", "2"),
    "CHAT_MAIL_URL": ("mail.example.org", "imap://h", "smtp://", "smtp://h/x"),
    "CHAT_MAIL_FROM": (
        *("nobody", "a b@c", "a@b, c@d", '"a@b"', "'a@b'", "a@b;", "a@b\x01", "a@b\N{ZERO WIDTH SPACE}", "a@b..c"),
        *("a..b@c", "\N{LATIN SMALL LETTER E WITH ACUTE}@b", "Site <a@b>"),
    ),
    "CHAT_RESERVE_OUTPUT": (*WHOLE, "some", "1000000000"),
    "CHAT_METRICS_NETWORKS": ("home", "10.0.0.0/8, home", "10.0.0.1/8", "10.0.0.0/33", "none, 10.0.0.0/8", ","),
    "CHAT_READY_LAG": (*NUMBERS, "0", "4000"),
    "CHAT_LOG_FORMAT": ("xml", "JSON"),
    "CHAT_SHARING": ("on", "everybody", "Team"),
    "CHAT_ACCESS_LOG": ("maybe", "2"),
}

# What operators rightly write, and a strict reader must not refuse.
GOOD: tuple[tuple[str, str], ...] = (
    *(
        ("ALLOWED_HOSTS", value)
        for value in ("*", ".example.org", "[::1],127.0.0.1", "Chat.Example.ORG", "xn--bcher-kva.example")
    ),
    *(
        ("CSRF_TRUSTED_ORIGINS", value)
        for value in ("https://a.example.org,http://localhost:8080", "https://*.example.org")
    ),
    ("CSRF_TRUSTED_ORIGINS", "https://[::1]:8443"),
    ("CHAT_API_ORIGINS", "*"),
    ("CHAT_API_ORIGINS", "https://app.example.org,http://localhost:3000"),
    ("CSRF_TRUSTED_ORIGINS", "HTTPS://Chat.Example.org"),
    *(
        ("DATABASE_URL", f"{scheme}://u:p%23%2F@db.internal:5432/chat")
        for scheme in ("postgres", "postgresql", "pgsql")
    ),
    ("DATABASE_URL", "postgres://host/name?sslmode=verify-full&sslrootcert=/etc/ca.pem&connect_timeout=3"),
    ("DATABASE_URL", "postgres://user@%2Fvar%2Frun%2Fpostgresql/chat"),
    ("DATABASE_URL", "postgres://u:p@[::1]:5432/chat?pool=false"),
    ("DATABASE_URL", "postgres://u:p@db_1:5432/chat?currentSchema=site"),
    ("DATABASE_URL", "postgres://u:p@host/chat?isolation_level=2&application_name=chat"),
    ("DATABASE_URL", "sqlite:////tmp/site.sqlite3?timeout=30&transaction_mode=immediate"),
    *(
        ("REDIS_URL", value)
        for value in ("redis://h:6379/0", "rediss://u:p@h/15", "redis://h", "unix:///run/r.sock?db=1")
    ),
    ("REDIS_URL", "rediss://h:6380/0?ssl_cert_reqs=none&ssl_ca_certs=/etc/ca.pem"),
    ("REDIS_URL", "redis://[::1]:6379/0"),
    ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1/"),
    ("OPENAI_BASE_URL", "http://vllm_1:8000/v1"),
    ("OPENAI_BASE_URL", "http://[::1]:8000/v1"),
    ("OPENAI_API_KEY", "sk-proj-abc_123=="),
    ("ANTHROPIC_THINKING_TOKENS", "1024"),
    ("ANTHROPIC_THINKING_TOKENS", "0"),
    ("CHAT_MODELS", "demo:tour, demo:\N{CJK UNIFIED IDEOGRAPH-901A}"),
    ("CHAT_CONTEXT_WINDOWS", "openai:llama3.2:3b=8192"),
    ("CHAT_MODEL_OPTIONS", '{"openai:llama3.2:3b": {"tools": false, "efforts": [], "retires_on": null}}'),
    ("CHAT_PRICES", "openai:a=0/0,openai:b=0.15/.6/0.075,openai:c=1e-2/10000,openai:d=3/15/0.3/3.75/6/10"),
    ("CHAT_TOOLS", "none"),
    ("CHAT_METRICS_NETWORKS", "none"),
    ("CHAT_METRICS_NETWORKS", "10.0.0.0/8,fd00::/8"),
    ("CHAT_USER_COST_PER_MONTH", "20.50"),
    ("CHAT_TIME_ZONE", "America/Sao_Paulo"),
    *(("HTTPS_PROXY", value) for value in ("http://h:3128", "h:3128", "https://u:p%40@h/", "http://[::1]:8", "proxy")),
    ("SSL_CERT_DIR", "/nonexistent:/etc"),
    ("NIX_SSL_CERT_FILE", "/etc/ca.pem"),
    ("FTP_PROXY", "ftp://h"),
    *(
        ("CHAT_MAIL_FROM", value)
        for value in ("a+b.c@Chat.Example.org", "o'brien@h", "a@b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example")
    ),
    ("CHAT_DRAIN", "600"),
    ("CHAT_DRAIN", " 0.5 "),
    ("CHAT_FLUSH_MS", "+0"),
    ("SECRET_KEY_FALLBACKS", "one,two"),
    ("CHAT_SYSTEM_PROMPT", "Be brief.\nSay \N{LATIN SMALL LETTER E WITH ACUTE}."),
)


@pytest.fixture(scope="module")
def read_settings() -> Iterator[SettingsReader]:
    with SettingsReader() as reader:
        yield reader


@pytest.fixture(scope="module")
def plain(read_settings: SettingsReader) -> Start:
    return read_settings({})


def test_an_empty_environment_is_enough(plain: Start) -> None:
    assert (plain.code, plain.lines) == (0, [])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_stops_the_start_with_one_line_that_names_the_setting(
    read_settings: SettingsReader, name: str
) -> None:
    for value in (*BAD[name], NO_TEXT):
        ended = read_settings({name: value})
        assert ended.code == 78, f"{name}={value!r} was taken"
        [line] = ended.lines
        assert line.startswith(f"Configuration error: {name} ") or "CHAT_CHECKPOINT" in line, (value, line)
        assert len(line) < 300, (value, line)


def test_every_setting_has_bad_values(plain: Start) -> None:
    assert set(BAD) == set(plain.names)
    # What any text is right for has no bad values but bytes that are none.
    assert {name for name, values in BAD.items() if not values} == {"CHAT_SYSTEM_PROMPT"}


def test_valid_values_are_taken(read_settings: SettingsReader) -> None:
    for name, value in GOOD:
        ended = read_settings({name: value})
        assert (ended.code, ended.lines) == (0, []), (name, value, ended.lines)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DATABASE_URL", "mysql://h/n", "is not a URL that the site can use, such as postgres://"),
        ("DATABASE_URL", "postgres://u:a#b@h/n", "in a password write # as %23"),
        ("CHAT_MODELS", "nobody:model", "must list provider:model"),
        ("CHAT_MODELS", "openai:gpt-4o", "neither OPENAI_API_KEY nor OPENAI_BASE_URL is set"),
        ("CHAT_TITLE_MODEL", "anthropic:x", "neither ANTHROPIC_API_KEY nor ANTHROPIC_BASE_URL is set"),
        ("CHAT_PRICES", "demo:tour=-100/1", "must be at least 0, not -100"),
        ("CHAT_PRICES", "demo:tour=99999/1", "must be at most 10,000, not 99,999"),
        ("CHAT_TOTAL_TIMEOUT", "inf", "must be at least 0.1"),
        ("CHAT_LEASE", "1", "three times CHAT_CHECKPOINT"),
        ("CHAT_MODEL_OPTIONS", '{"openai:m": {"tools": 1}}', "of 'openai:m': 'tools' must be true or false"),
        ("CHAT_HEARTBEAT", "60", "must be at most 15, not 60"),
        ("CHAT_FLUSH_MS", "1.5", "must be a whole number"),
        ("ANTHROPIC_THINKING_TOKENS", "5", "must be 0 or at least 1024, not 5"),
        ("SECURE_HSTS_SECONDS", "60", "needs an https origin"),
        ("ALLOWED_HOSTS", "https://x.org", "without scheme, port or path, not 'https://x.org'"),
        ("SSL_CERT_FILE", "/nonexistent.pem", "cannot be read (No such file or directory): '/nonexistent.pem'"),
        ("HTTPS_PROXY", "socks5://h:1080", "must be the address of an HTTP proxy, such as http://"),
        ("https_proxy", "http://h:port", "Configuration error: HTTPS_PROXY must be the address"),
        ("REDIS_URL", "redis://h:6379/abc", "must end with the number of a database"),
    ],
)
def test_the_error_line_says_what_a_valid_value_is(
    read_settings: SettingsReader, name: str, value: str, words: str
) -> None:
    ended = read_settings({name: value})
    assert words in ended.lines[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysterydb://user:hunter2@host/name"),
        ("DATABASE_URL", "postgres://user:hunter2#@host/name"),
        ("DATABASE_URL", "postgres://user:hunter2@host/name?sslmod=1"),
        ("REDIS_URL", "redis://:hunter2@host:port/0"),
        ("REDIS_URL", "redis://:hunter2@host/0?x=hunter2"),
        ("OPENAI_API_KEY", "hunter2 hunter2"),
        ("OPENAI_BASE_URL", "http://user:hunter2@host:port/v1"),
        ("CHAT_MCP", '{"hunter2'),
    ],
)
def test_no_secret_is_repeated(read_settings: SettingsReader, name: str, value: str) -> None:
    ended = read_settings({name: value})
    assert ended.code == 78
    assert "hunter2" not in ended.lines[0]


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CHAT_MODLES", "CHAT_MODELS"),
        ("CHAT_MODEL", "CHAT_MODELS"),
        ("chat_models", "CHAT_MODELS"),
        ("CHATMODELS", "CHAT_MODELS"),
        ("CHT_MODELS", "CHAT_MODELS"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("CSRF_TRUSTED_ORIGIN", "CSRF_TRUSTED_ORIGINS"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("REDIS_URI", "REDIS_URL"),
        ("SECRETKEY", "SECRET_KEY"),
        ("OPENAI_KEY", "OPENAI_API_KEY"),
        ("OPENAI_BASEURL", "OPENAI_BASE_URL"),
        ("ANTHROPIC_APIKEY", "ANTHROPIC_API_KEY"),
    ],
)
def test_a_variable_that_looks_like_a_setting_is_warned_of_with_the_near_name(
    read_settings: SettingsReader, name: str, meant: str
) -> None:
    ended = read_settings({name: "hunter2"})
    assert ended.code == 0
    assert ended.lines == [f"Configuration warning: {name} is no setting of this site; did you mean {meant}?"]


def test_an_unknown_variable_with_the_sites_prefix_is_warned_of_too(read_settings: SettingsReader) -> None:
    ended = read_settings({"CHAT_XYZZY_QQQ": "1"})
    assert ended.lines == [
        "Configuration warning: CHAT_XYZZY_QQQ is no setting of this site; docs/configuration.md has all settings"
    ]


def test_variables_of_other_programs_are_no_misspellings(read_settings: SettingsReader) -> None:
    theirs = (
        "HOME LANG PYTHONPATH DJANGO_SETTINGS_MODULE OPENAI_ORG_ID OPENAI_PROJECT_ID OPENAI_API_VERSION HTTPS_PROXY"
    )
    theirs += (
        " ANTHROPIC_AUTH_TOKEN ANTHROPIC_MODEL POSTGRES_PASSWORD SECRET_KEY_BASE CHAT_SERVICE_HOST CHAT_SERVICE_PORT"
    )
    theirs += " CHAT_PORT CHAT_PORT_8000_TCP CHAT_PORT_8000_TCP_ADDR CHAT_SERVICE_PORT_HTTP HOSTNAME INVOCATION_ID PORT"
    ended = read_settings(dict.fromkeys(theirs.split(), "1"))
    assert (ended.code, ended.lines) == (0, [])


# Models and documentation


@pytest.mark.parametrize(
    ("environment", "models"),
    [
        ({}, ["demo:tour"]),
        ({"OPENAI_API_KEY": "k"}, ["openai:gpt-6.1-terra"]),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"}, ["openai:gpt-6.1-terra"]),
        ({"ANTHROPIC_API_KEY": "k"}, ["anthropic:claude-sonnet-5-5"]),
        ({"OPENAI_API_KEY": "k", "CHAT_MODELS": "demo:tour, openai:o3"}, ["demo:tour", "openai:o3"]),
    ],
)
def test_the_models_are_those_named_or_those_that_the_keys_allow(
    read_settings: SettingsReader, environment: dict[str, str], models: list[str]
) -> None:
    ended = read_settings(environment)
    assert ended.settings["CHAT_MODELS"] == repr(models)


def test_every_setting_is_explained_and_nothing_else_is(plain: Start) -> None:
    explained = re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE)
    assert set(plain.names) == set(explained)
