"""Every setting of the site, read once from the environment. docs/configuration.md explains each of them."""

from __future__ import annotations

import os
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.management.utils import get_random_secret_key

from chat.usage import Price
from chatsite import environment as env
from chatsite.logs import password_of

BASE_DIR = Path(__file__).resolve().parent.parent


def _secret_key() -> str:
    """The key given, or one made at the first start and kept beside the database, so that logins survive restarts."""
    if given := env.text("SECRET_KEY"):
        return given
    path = BASE_DIR / ".secret_key"
    if not path.exists():
        draft = path.with_name(f".secret_key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(get_random_secret_key())
        # A link appears whole or not at all, and only the first of two processes that start at once makes it.
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()


SECRET_KEY = _secret_key()
DEBUG = env.boolean("DEBUG", default=False)
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "daphne",  # first: it makes runserver an ASGI server
    "servestatic.runserver_nostatic",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "channels",
    "chat",
]

# All of these run on the event loop or hop through the request's own thread; a sync-only middleware would move
# every view, and with it every stream, into a thread.
MIDDLEWARE = [
    "chatsite.middleware.MonitoringMiddleware",
    "chatsite.middleware.RequestMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "chatsite.middleware.SecurityMiddleware",
    "chatsite.middleware.SessionMiddleware",
    "chatsite.middleware.CommonMiddleware",
    "chatsite.middleware.CsrfViewMiddleware",
    "chatsite.middleware.AuthenticationMiddleware",
    "chatsite.middleware.LoginMiddleware",
    "chatsite.middleware.MessageMiddleware",
    "chatsite.middleware.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

# `check --deploy` looks for these three by Django's own names; ours are their subclasses.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003"]

ROOT_URLCONF = "chatsite.urls"
ASGI_APPLICATION = "chatsite.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# SQLite loses writers under load unless the journal is a WAL, transactions take the lock at once (a deferred one that
# turns into a writer fails without waiting) and the wait is longer than the longest write. Each of nine threads has a
# connection, and each of those would gather 2 MB of pages, which the kernel has too.
SQLITE_OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-256;",
}


def _database() -> dict[str, Any]:
    url = env.text("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
    try:
        database: dict[str, Any] = dict(dj_database_url.parse(url))
    except (ValueError, KeyError):
        env.refuse("DATABASE_URL", "is not a URL such as postgres://user:password@host:5432/name")
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database["OPTIONS"] = {**SQLITE_OPTIONS, **database.get("OPTIONS", {})}
        database["CONN_MAX_AGE"] = None  # a file, and a few threads: opening it costs more than a query
    else:
        # Every request and tick has a connection for milliseconds; a pool keeps opening one (a fork of the server
        # and a handshake, 2-5 ms) off the way to the first word.
        # Three processes stay below 20, of the 100 that PostgreSQL has for everybody. While it is away, the pool tries
        # for 2 s and then whenever it is asked: by default it would wait twice as long after each attempt, for minutes.
        pool = {"min_size": 1, "max_size": 6, "max_idle": 30, "timeout": 5, "reconnect_timeout": 2}
        database["OPTIONS"] = {"pool": pool, **database.get("OPTIONS", {})}
        # A restart of PostgreSQL leaves dead connections in the pool, each of them a failed request: a round trip
        # (0.1 ms beside the server) finds out first.
        database["CONN_HEALTH_CHECKS"] = True
    return database


DATABASES = {"default": _database()}

REDIS_URL = env.text("REDIS_URL")
if REDIS_URL and not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    env.refuse("REDIS_URL", "is not a URL such as redis://host:6379/0")

# By which processes tell each other something; see chat.notices. One without Redis is alone.
CHANNEL_LAYERS: dict[str, Any] = {}
if REDIS_URL:
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_connect_timeout": 2}], "prefix": "chat"},
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "chat.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True  # no collectstatic between a clone and a page
SERVESTATIC_AUTOREFRESH = DEBUG

SESSION_ENGINE = "chat.sessions"
AUTHENTICATION_BACKENDS = ["chat.sessions.Backend", "django.contrib.auth.backends.ModelBackend"]

# A cookie over plain HTTP is right for localhost and wrong behind TLS, where CSRF_TRUSTED_ORIGINS names https.
_BEHIND_TLS = any(origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _BEHIND_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _BEHIND_TLS else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "chat.views.csrf_failure"

OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_BASE_URL = env.text("OPENAI_BASE_URL")
ANTHROPIC_API_KEY = env.text("ANTHROPIC_API_KEY")
ANTHROPIC_BASE_URL = env.text("ANTHROPIC_BASE_URL")

CHAT_METRICS_TOKEN = env.text("CHAT_METRICS_TOKEN")
CHAT_READY_LAG = env.number("CHAT_READY_LAG", 1, least=0.05)


def _metrics_networks() -> list[IPv4Network | IPv6Network]:
    networks: list[IPv4Network | IPv6Network] = []
    for item in env.items("CHAT_METRICS_NETWORKS", "127.0.0.0/8,::1/128"):
        if item == "none":
            continue
        try:
            networks.append(ip_network(item))
        except ValueError:
            env.refuse("CHAT_METRICS_NETWORKS", f"must list networks such as 10.0.0.0/8, or say none, not {item!r}")
    return networks


CHAT_METRICS_NETWORKS = _metrics_networks()

CHAT_LOG_FORMAT = env.text("CHAT_LOG_FORMAT", "line")
if CHAT_LOG_FORMAT not in {"line", "json"}:
    env.refuse("CHAT_LOG_FORMAT", f"must be line or json, not {CHAT_LOG_FORMAT!r}")
CHAT_ACCESS_LOG = env.boolean("CHAT_ACCESS_LOG", default=CHAT_LOG_FORMAT == "json")

# What no log line may hold, wherever an error message picked it up.
_SECRETS = [
    SECRET_KEY,
    OPENAI_API_KEY,
    ANTHROPIC_API_KEY,
    CHAT_METRICS_TOKEN,
    password_of(env.text("DATABASE_URL")),
    password_of(REDIS_URL),
]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"names": {"()": "chatsite.logs.NamesFilter"}},
    "formatters": {
        "line": {"()": "chatsite.logs.LineFormatter", "secrets": _SECRETS},
        "json": {"()": "chatsite.logs.JsonFormatter", "secrets": _SECRETS},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": CHAT_LOG_FORMAT, "filters": ["names"]},
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django.server": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        # Handlers of their own would write lines of another form.
        **{name: {"handlers": [], "propagate": True} for name in ("django", "uvicorn", "uvicorn.error")},
        # Its lines hold queries, and people search for what they said; see CHAT_ACCESS_LOG.
        "uvicorn.access": {"handlers": [], "propagate": False},
        # The SDKs and their transport log a line for every request, with its address.
        **{name: {"level": "WARNING"} for name in ("httpx2", "httpx", "openai", "anthropic", "daphne", "asyncio")},
        # A lost Redis is a line of chat.broker's; the layer would print a traceback every second.
        "channels_redis": {"level": "CRITICAL"},
    },
}

# What each provider is made with, by its name in `chat.providers.PROVIDERS`.
CHAT_PROVIDERS: dict[str, dict[str, Any]] = {
    "openai": {"api_key": OPENAI_API_KEY, "base_url": OPENAI_BASE_URL or None},
    "anthropic": {
        "api_key": ANTHROPIC_API_KEY,
        "base_url": ANTHROPIC_BASE_URL or None,
        "thinking_tokens": env.integer("ANTHROPIC_THINKING_TOKENS", 0),
    },
    "demo": {},
}


def _models() -> list[str]:
    """`provider:model` names, the default first; without CHAT_MODELS, what the given keys can answer with."""
    usable = []
    if OPENAI_API_KEY or OPENAI_BASE_URL:
        usable.append("openai:gpt-4o")
    if ANTHROPIC_API_KEY or ANTHROPIC_BASE_URL:
        usable.append("anthropic:claude-sonnet-4-5")
    models = env.items("CHAT_MODELS", ",".join(usable) or "demo:tour")
    for model in models:
        provider, _, name = model.partition(":")
        if provider not in CHAT_PROVIDERS or not name:
            env.refuse(
                "CHAT_MODELS",
                f"must list provider:model with a provider of {', '.join(CHAT_PROVIDERS)}, not {model!r}",
            )
    return list(dict.fromkeys(models))


CHAT_MODELS = _models()


def _per_model(name: str, items: list[str]) -> dict[str, int]:
    """`provider:model=tokens`, as a comma list."""
    figures = {}
    for item in items:
        model, _, tokens = item.partition("=")
        if ":" not in model or not tokens.isdecimal() or not int(tokens):
            env.refuse(name, f"must list provider:model=tokens, not {item!r}")
        figures[model] = int(tokens)
    return figures


CHAT_TITLE_MODEL = env.text("CHAT_TITLE_MODEL")
if CHAT_TITLE_MODEL and CHAT_TITLE_MODEL.partition(":")[0] not in CHAT_PROVIDERS:
    env.refuse("CHAT_TITLE_MODEL", f"must be provider:model with a provider of {', '.join(CHAT_PROVIDERS)}")
CHAT_SYSTEM_PROMPT = env.text("CHAT_SYSTEM_PROMPT")
CHAT_CONTEXT_WINDOWS = _per_model("CHAT_CONTEXT_WINDOWS", env.items("CHAT_CONTEXT_WINDOWS"))
CHAT_MAX_TOKENS = _per_model("CHAT_MAX_TOKENS", env.items("CHAT_MAX_TOKENS"))
_OWN_TOOLS = ("calculator.calculator", "clock.current_time", "conversations.search_conversations")
CHAT_TOOLS = [
    path for path in env.items("CHAT_TOOLS", ",".join(f"chat.tools.{name}" for name in _OWN_TOOLS)) if path != "none"
]
CHAT_TOOL_STEPS = env.integer("CHAT_TOOL_STEPS", 8, least=1)
CHAT_TOOL_TIMEOUT = env.number("CHAT_TOOL_TIMEOUT", 20, least=0.1)
CHAT_MCP = env.mapping("CHAT_MCP")
CHAT_FIRST_TOKEN_TIMEOUT = env.number("CHAT_FIRST_TOKEN_TIMEOUT", 30, least=0.1)
CHAT_IDLE_NOTICE = env.number("CHAT_IDLE_NOTICE", 5, least=0.1)
CHAT_IDLE_TIMEOUT = env.number("CHAT_IDLE_TIMEOUT", 60, least=0.1)
CHAT_TOTAL_TIMEOUT = env.number("CHAT_TOTAL_TIMEOUT", 600, least=0.1)
CHAT_LIVE_ANSWERS = env.integer("CHAT_LIVE_ANSWERS", 500, least=1)
CHAT_WAITING_ANSWERS = env.integer("CHAT_WAITING_ANSWERS", 500)
CHAT_ABANDON_AFTER = env.number("CHAT_ABANDON_AFTER", 60)
CHAT_LEASE = env.number("CHAT_LEASE", 10, least=1)
CHAT_CHECKPOINT = env.number("CHAT_CHECKPOINT", 0.5, least=0.05)
CHAT_FLUSH_MS = env.integer("CHAT_FLUSH_MS", 50)
CHAT_ONE_CORE = env.boolean("CHAT_ONE_CORE", default=True)
CHAT_DRAIN = env.number("CHAT_DRAIN", 8)
CHAT_HEARTBEAT = env.number("CHAT_HEARTBEAT", 15, least=0.1, most=15)
CHAT_MAX_ANSWER_CHARS = env.integer("CHAT_MAX_ANSWER_CHARS", 400_000, least=1)
CHAT_MAX_RETRIES = env.integer("CHAT_MAX_RETRIES", 2)
CHAT_STAFF_RETRIES = env.integer("CHAT_STAFF_RETRIES", 4, least=1)
CHAT_MAX_PROMPT_CHARS = env.integer("CHAT_MAX_PROMPT_CHARS", 100_000, least=1)

# What one user may; 0 = no limit. The admin has other limits for groups and users, see chat.quotas.
CHAT_USER_REQUESTS_PER_MINUTE = env.integer("CHAT_USER_REQUESTS_PER_MINUTE", 0)
CHAT_USER_STREAMS = env.integer("CHAT_USER_STREAMS", 0)
CHAT_USER_TOKENS_PER_DAY = env.integer("CHAT_USER_TOKENS_PER_DAY", 0)
CHAT_USER_COST_PER_MONTH = env.decimal("CHAT_USER_COST_PER_MONTH", "0")
CHAT_RESERVE_OUTPUT = env.integer("CHAT_RESERVE_OUTPUT", 1000)

# A character of a question may be twelve bytes of a request: two \u escapes in JSON, or four % escapes in a form.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(2_621_440, 12 * CHAT_MAX_PROMPT_CHARS)

if CHAT_LEASE < 3 * CHAT_CHECKPOINT:
    env.refuse("CHAT_LEASE", "must be at least three times CHAT_CHECKPOINT, or a busy server loses its own answers")


def _prices() -> dict[str, Price]:
    """`provider:model=input/output` or `=input/output/cached`, in US dollars for a million tokens."""
    prices = {}
    for item in env.items("CHAT_PRICES"):
        model, _, figures = item.partition("=")
        try:
            dollars = [Decimal(figure) for figure in figures.split("/")]
            prices[model] = Price(dollars[0], dollars[1], dollars[2] if len(dollars) == 3 else dollars[0])
        except (InvalidOperation, IndexError):
            env.refuse("CHAT_PRICES", f"must list provider:model=input/output[/cached], not {item!r}")
    return prices


CHAT_PRICES = _prices()
