"""Every setting of the site, read once from the environment. docs/configuration.md explains each of them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import django_stubs_ext
from django.core.management.utils import get_random_secret_key
from django.utils.crypto import salted_hmac

from chat.core.prices import HIGHEST_PRICE, Price
from chat.providers.capabilities import EFFORTS
from chat.providers.model_families import DEFAULT_MODELS
from chat.providers.model_options import ModelOptionError, read_options
from chatsite import addresses, env, network
from chatsite.logs import find_password

# Generic classes of Django's, such as `ModelAdmin[User]`, can be subclassed at run time too.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent


def _find_secret_key() -> str:
    """Return the key given, or one made at the first start and kept in the checkout: logins survive restarts."""
    if given := env.read_text("SECRET_KEY"):
        env.refuse_placeholder("SECRET_KEY", given)
        return given
    path = BASE_DIR / ".secret_key"
    try:
        return _keep_secret_key(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it holds no key"
        env.refuse("SECRET_KEY", f"is not set, and the site cannot keep one in {path} ({reason}): set it")


def _keep_secret_key(path: Path) -> str:
    """Return the key in a file, which is made if it is not there. Raise ValueError for a file without a key."""
    if not path.exists():
        draft = path.with_name(f".secret_key.{os.getpid()}")
        try:
            draft.touch(mode=0o600)
            draft.write_text(get_random_secret_key())
            # A link appears whole or not at all, and only the first of two processes that start at once makes it.
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    if not (key := path.read_text().strip()):
        raise ValueError(path)
    return key


SECRET_KEY = _find_secret_key()
SECRET_KEY_FALLBACKS = env.read_items("SECRET_KEY_FALLBACKS")
DEBUG = env.read_switch("DEBUG", default=False)
ALLOWED_HOSTS = addresses.read_hosts("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = addresses.read_origins("CSRF_TRUSTED_ORIGINS")
CHAT_API_ORIGINS = addresses.read_api_origins("CHAT_API_ORIGINS")

INSTALLED_APPS = [
    "daphne",  # first: it makes runserver an ASGI server
    "servestatic.runserver_nostatic",
    "chatsite.admin_site.SiteAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "channels",
    "chat",
    "chatsite",
]

# All of these run on the event loop or hop through the request's own thread; a sync-only middleware would move
# every view, and with it every stream, into a thread.
MIDDLEWARE = [
    "chatsite.middleware.MonitoringMiddleware",
    "chatsite.middleware.RequestMiddleware",
    "chatsite.static_files.StaticMiddleware",
    "chatsite.middleware.PrivacyMiddleware",
    "chatsite.api_middleware.ApiMiddleware",
    "chatsite.middleware.SecurityMiddleware",
    "chatsite.middleware.SessionMiddleware",
    "chatsite.middleware.CommonMiddleware",
    "chatsite.middleware.CsrfViewMiddleware",
    "chatsite.middleware.AuthenticationMiddleware",
    "chatsite.middleware.LoginMiddleware",
    "chatsite.middleware.MessageMiddleware",
    "chatsite.middleware.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "chatsite.outages.OutageMiddleware",
    "chatsite.passwords.PasswordMiddleware",
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
# connection, and each of those would gather 2 MB of pages, which the kernel has too. What is deleted is overwritten
# with zeros, so that the file does not keep a conversation that its user has deleted.
SQLITE_OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-256; "
    "PRAGMA secure_delete=ON;",
}


def _read_database() -> dict[str, Any]:
    database = addresses.read_database("DATABASE_URL", BASE_DIR / "db.sqlite3")
    if database["ENGINE"] == addresses.SQLITE:
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


DATABASES = {"default": _read_database()}

REDIS_URL = addresses.read_redis_url("REDIS_URL")


def _name_channels() -> str:
    """Return how the names of this site's channels begin, the same in all of its processes and in no other site's.

    What is published in Redis is heard in all of its databases: users of another site there, who have the same numbers,
    would be told the titles of this one's.
    """
    number = addresses.find_redis_database(REDIS_URL)
    return f"chat-{salted_hmac('chatsite.channels', str(number), secret=SECRET_KEY).hexdigest()[:12]}"


# The channel by which processes notify each other, see chat.generation.notifications. Without Redis there is none.
CHANNEL_LAYERS: dict[str, Any] = {}
if REDIS_URL:
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_connect_timeout": 2}], "prefix": _name_channels()},
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
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "chatsite.static_files.VersionedStorage"},
}
SERVESTATIC_USE_FINDERS = True  # no collectstatic between a clone and a page
SERVESTATIC_AUTOREFRESH = DEBUG

# Each process keeps prices, limits and access from the database for `TIMEOUT` seconds: otherwise a question would pay a
# query for each of them. No session is kept here: one that has ended has to have ended in every process.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "TIMEOUT": 5,
        "OPTIONS": {"MAX_ENTRIES": 20_000},  # a few for each user of those seconds
    }
}

SESSION_ENGINE = "django.contrib.sessions.backends.db"
AUTHENTICATION_BACKENDS = ["chat.sessions.Backend", "django.contrib.auth.backends.ModelBackend"]

# A cookie over plain HTTP is right for localhost and wrong behind TLS, where CSRF_TRUSTED_ORIGINS names https.
_BEHIND_TLS = any(origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _BEHIND_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _BEHIND_TLS else None

# A day by default: a browser that has seen the header refuses plain HTTP, and a certificate that ran out, for so long.
SECURE_HSTS_SECONDS = env.read_integer("SECURE_HSTS_SECONDS", env.DAY if _BEHIND_TLS else 0)
if SECURE_HSTS_SECONDS and not _BEHIND_TLS:
    env.refuse(
        "SECURE_HSTS_SECONDS", "needs an https origin in CSRF_TRUSTED_ORIGINS: plain HTTP cannot send the header"
    )
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "chat.http.errors.refuse_forged_form"

OPENAI_API_KEY = env.read_secret("OPENAI_API_KEY")
OPENAI_BASE_URL = addresses.read_base_url("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
OPENAI_API = env.read_choice("OPENAI_API", "auto", ("auto", "responses", "chat"))
OPENAI_BACKGROUND = env.read_switch("OPENAI_BACKGROUND", default=False)
if OPENAI_BACKGROUND and OPENAI_API == "chat":
    env.refuse("OPENAI_BACKGROUND", "needs the Responses API, and OPENAI_API says chat")
ANTHROPIC_API_KEY = env.read_secret("ANTHROPIC_API_KEY")
ANTHROPIC_BASE_URL = addresses.read_base_url("ANTHROPIC_BASE_URL", "https://api.anthropic.com")
network.refuse_bad_network()

CHAT_METRICS_TOKEN = env.read_secret("CHAT_METRICS_TOKEN")
CHAT_READY_LAG = env.read_number("CHAT_READY_LAG", 1, least=0.05, most=3600)


def _read_networks(name: str, items: list[str]) -> list[IPv4Network | IPv6Network]:
    networks: list[IPv4Network | IPv6Network] = []
    for item in items if items != ["none"] else ():
        try:
            networks.append(ip_network(item))
        except ValueError:
            env.refuse(name, f"must list networks such as 10.0.0.0/8, or say none, not {env.quote(item)}")
    return networks


CHAT_METRICS_NETWORKS = _read_networks(
    "CHAT_METRICS_NETWORKS", env.read_items("CHAT_METRICS_NETWORKS", "127.0.0.0/8,::1/128")
)

# Whose X-Forwarded-For is believed.
CHAT_TRUSTED_PROXIES = _read_networks(
    "CHAT_TRUSTED_PROXIES", env.read_items("CHAT_TRUSTED_PROXIES", "127.0.0.0/8,::1/128")
)
CHAT_LOGIN_TRIES = env.read_integer("CHAT_LOGIN_TRIES", 5, most=1_000_000)
CHAT_LOGIN_ADDRESS_TRIES = env.read_integer("CHAT_LOGIN_ADDRESS_TRIES", 20, least=1, most=1_000_000)

CHAT_LOG_FORMAT = env.read_choice("CHAT_LOG_FORMAT", "line", ("line", "json"))
CHAT_ACCESS_LOG = env.read_switch("CHAT_ACCESS_LOG", default=CHAT_LOG_FORMAT == "json")

# What no log line may hold, wherever an error message picked it up.
_SECRETS = [
    SECRET_KEY,
    *SECRET_KEY_FALLBACKS,
    OPENAI_API_KEY,
    ANTHROPIC_API_KEY,
    CHAT_METRICS_TOKEN,
    find_password(env.read_text("DATABASE_URL")),
    find_password(REDIS_URL),
    find_password(OPENAI_BASE_URL),
    find_password(ANTHROPIC_BASE_URL),
    find_password(env.read_text("CHAT_MAIL_URL")),
    env.read_text("CHAT_ALERT_SECRET"),
]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "names": {"()": "chatsite.logs.NamesFilter"},
        "denials": {"()": "chatsite.logs.DenialFilter"},
        "connecting": {"()": "chatsite.logs.ConnectingFilter"},
    },
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
        **{name: {"handlers": [], "propagate": True} for name in ("django", "uvicorn")},
        "uvicorn.error": {"handlers": [], "propagate": True, "filters": ["denials"]},
        # Its lines hold queries, and people search for what they said; see CHAT_ACCESS_LOG.
        "uvicorn.access": {"handlers": [], "propagate": False},
        # The SDKs and their transport log a line for every request, with its address.
        **{name: {"level": "WARNING"} for name in ("httpx2", "httpx", "openai", "anthropic", "daphne", "asyncio")},
        # A lost PostgreSQL is a line of each request that met it; the pool would log five a second beside them.
        "psycopg.pool": {"level": "WARNING", "filters": ["connecting"]},
        # A lost Redis is a line of chat.broker's; the layer would print a traceback every second.
        "channels_redis": {"level": "CRITICAL"},
    },
}

# The least that Anthropic lets a model think with, and more than any model can.
LEAST_THINKING, MAX_THINKING = 1024, 1_000_000


def _read_thinking_tokens() -> int:
    tokens = env.read_integer("ANTHROPIC_THINKING_TOKENS", 0, most=MAX_THINKING)
    if 0 < tokens < LEAST_THINKING:
        env.refuse("ANTHROPIC_THINKING_TOKENS", f"must be 0 or at least {LEAST_THINKING}, not {tokens}")
    return tokens


# What each provider is made with, by its name in `chat.providers.registry.PROVIDERS`.
CHAT_PROVIDERS: dict[str, dict[str, Any]] = {
    "openai": {
        "api_key": OPENAI_API_KEY,
        "base_url": OPENAI_BASE_URL or None,
        "api": OPENAI_API,
        "background": OPENAI_BACKGROUND,
    },
    "anthropic": {
        "api_key": ANTHROPIC_API_KEY,
        "base_url": ANTHROPIC_BASE_URL or None,
        "thinking_tokens": _read_thinking_tokens(),
    },
    "demo": {},
}

# As long as the database's columns that hold one.
LONGEST_MODEL = 200


def _is_model(name: str) -> bool:
    """Return whether it is `provider:model` with a provider of the site's."""
    provider, _, model = name.partition(":")
    is_name = re.fullmatch(r"[^\s=]+", model) is not None and model.isprintable()
    return provider in CHAT_PROVIDERS and is_name and len(name) <= LONGEST_MODEL


def _check_model(setting: str, model: str, form: str) -> None:
    """Refuse what is no model, and a model whose provider cannot be asked."""
    if not _is_model(model):
        env.refuse(setting, f"{form} with a provider of {', '.join(CHAT_PROVIDERS)}, not {env.quote(model)}")
    provider = model.partition(":")[0]
    fields = CHAT_PROVIDERS[provider]
    if fields and not (fields["api_key"] or fields["base_url"]):
        key, url = f"{provider.upper()}_API_KEY", f"{provider.upper()}_BASE_URL"
        env.refuse(setting, f"names {env.quote(model)}, and neither {key} nor {url} is set")


def _is_usable(provider: dict[str, Any]) -> bool:
    """Return whether a provider has a key or an address of its own."""
    return bool(provider["api_key"] or provider["base_url"])


def _read_models() -> list[str]:
    """Return `provider:model` names, the default first; without CHAT_MODELS, what the given keys can answer with."""
    usable = [f"{name}:{DEFAULT_MODELS[name]}" for name in ("openai", "anthropic") if _is_usable(CHAT_PROVIDERS[name])]
    models = env.read_items("CHAT_MODELS", ",".join(usable) or "demo:tour")
    for model in models:
        _check_model("CHAT_MODELS", model, "must list provider:model")
    return list(dict.fromkeys(models))


CHAT_MODELS = _read_models()

# The default models whose provider is another server: the models that it lists take their place, once it has listed
# them.
CHAT_LISTED_MODELS = {
    name: f"{name}:{model}"
    for name, model in DEFAULT_MODELS.items()
    if CHAT_PROVIDERS[name]["base_url"] and not env.read_text("CHAT_MODELS")
}

# More tokens than any model reads.
MAX_TOKENS = 100_000_000


def _read_per_model(name: str, items: list[str]) -> dict[str, int]:
    """Return the figures of `provider:model=tokens`, as a comma list."""
    figures: dict[str, int] = {}
    for item in items:
        model, _, tokens = item.rpartition("=")
        is_figure = re.fullmatch(r"\d{1,9}", tokens, re.ASCII) and 0 < int(tokens) <= MAX_TOKENS
        if not _is_model(model) or not is_figure:
            env.refuse(name, f"must list provider:model=tokens, of 1 to {MAX_TOKENS:,}, not {env.quote(item)}")
        if model in figures:
            env.refuse(name, f"has two figures for {model}")
        figures[model] = int(tokens)
    return figures


CHAT_TITLE_MODEL = env.read_text("CHAT_TITLE_MODEL")
if CHAT_TITLE_MODEL:
    _check_model("CHAT_TITLE_MODEL", CHAT_TITLE_MODEL, "must be provider:model")
CHAT_SYSTEM_PROMPT = env.read_text("CHAT_SYSTEM_PROMPT")
CHAT_CONTEXT_WINDOWS = _read_per_model("CHAT_CONTEXT_WINDOWS", env.read_items("CHAT_CONTEXT_WINDOWS"))
CHAT_MAX_TOKENS = _read_per_model("CHAT_MAX_TOKENS", env.read_items("CHAT_MAX_TOKENS"))


def _read_model_options() -> dict[str, dict[str, Any]]:
    """Return what the operator knows better about a `provider:model`, checked and with values of the right kind."""
    options: dict[str, dict[str, Any]] = {}
    for model, said in env.read_mapping("CHAT_MODEL_OPTIONS").items():
        if not _is_model(model):
            env.refuse("CHAT_MODEL_OPTIONS", f"must have provider:model as its names, not {env.quote(model)}")
        try:
            options[model] = read_options(model.partition(":")[0], said)
        except ModelOptionError as error:
            env.refuse("CHAT_MODEL_OPTIONS", f"of {env.quote(model)}: {str(error)[:180]}")
    return options


CHAT_MODEL_OPTIONS = _read_model_options()


def _read_efforts() -> dict[str, str]:
    """Read the effort of each model in CHAT_EFFORT, in the provider's own word."""
    efforts: dict[str, str] = {}
    for item in env.read_items("CHAT_EFFORT"):
        model, _, effort = item.rpartition("=")
        if not _is_model(model) or effort not in EFFORTS:
            env.refuse(
                "CHAT_EFFORT",
                f"must list provider:model=effort, one of {', '.join(EFFORTS)}, not {env.quote(item)}",
            )
        if model in efforts:
            env.refuse("CHAT_EFFORT", f"has two efforts for {model}")
        efforts[model] = effort
    return efforts


CHAT_EFFORT = _read_efforts()


def _read_fallbacks() -> dict[str, list[str]]:
    """Read the chains of CHAT_FALLBACKS: the models that are asked where another one is not available."""
    chains: dict[str, list[str]] = {}
    for item in env.read_items("CHAT_FALLBACKS"):
        model, *chain = item.replace("=", ">", 1).split(">")
        if "=" not in item or not all(map(_is_model, (model, *chain))):
            env.refuse("CHAT_FALLBACKS", f"must list provider:model=provider:model>…, not {env.quote(item)}")
        for name in (model, *chain):
            # Titles may be written by a model that nobody is offered; it too may not be available.
            is_known = name in CHAT_MODELS or (name == model == CHAT_TITLE_MODEL)
            if not is_known and not CHAT_LISTED_MODELS:
                env.refuse("CHAT_FALLBACKS", f"names {env.quote(name)}, which CHAT_MODELS does not")
        if model in chains:
            env.refuse("CHAT_FALLBACKS", f"has two chains for {model}")
        if model in chain or len(set(chain)) < len(chain):
            env.refuse("CHAT_FALLBACKS", f"names a model twice in {env.quote(item)}")
        chains[model] = chain
    return chains


CHAT_FALLBACKS = _read_fallbacks()
_OWN_TOOLS = ("calculator.calculator", "clock.current_time", "conversations.search_conversations")
CHAT_TOOLS = env.read_items("CHAT_TOOLS", ",".join(f"chat.tools.{name}" for name in _OWN_TOOLS))
if CHAT_TOOLS == ["none"]:
    CHAT_TOOLS = []
for path in CHAT_TOOLS:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", path):
        env.refuse("CHAT_TOOLS", f"must list dotted paths such as chat.tools.clock.current_time, not {env.quote(path)}")
CHAT_TOOL_STEPS = env.read_integer("CHAT_TOOL_STEPS", 8, least=1, most=1000)
CHAT_TOOL_TIMEOUT = env.read_number("CHAT_TOOL_TIMEOUT", 20, least=0.1, most=env.DAY)
CHAT_MCP = env.read_mapping("CHAT_MCP")
CHAT_FIRST_TOKEN_TIMEOUT = env.read_number("CHAT_FIRST_TOKEN_TIMEOUT", 30, least=0.1, most=env.DAY)
CHAT_IDLE_NOTICE = env.read_number("CHAT_IDLE_NOTICE", 5, least=0.1, most=env.DAY)
CHAT_IDLE_TIMEOUT = env.read_number("CHAT_IDLE_TIMEOUT", 60, least=0.1, most=env.DAY)
CHAT_THINKING_TIMEOUT = env.read_number("CHAT_THINKING_TIMEOUT", 600, least=0.1, most=env.DAY)
CHAT_TOTAL_TIMEOUT = env.read_number("CHAT_TOTAL_TIMEOUT", 1800, least=0.1, most=env.DAY)
CHAT_LIVE_ANSWERS = env.read_integer("CHAT_LIVE_ANSWERS", 1000, least=1, most=100_000)
CHAT_WAITING_ANSWERS = env.read_integer("CHAT_WAITING_ANSWERS", 500, most=1_000_000)
CHAT_ABANDON_AFTER = env.read_number("CHAT_ABANDON_AFTER", 60, most=env.DAY)
CHAT_LEASE = env.read_number("CHAT_LEASE", 10, least=1, most=3600)
CHAT_CHECKPOINT = env.read_number("CHAT_CHECKPOINT", 0.5, least=0.05, most=60)
CHAT_FLUSH_MS = env.read_integer("CHAT_FLUSH_MS", 50, most=10_000)
CHAT_ONE_CORE = env.read_switch("CHAT_ONE_CORE", default=True)
CHAT_DRAIN = env.read_number("CHAT_DRAIN", 8, most=env.DAY)
CHAT_FINISH_LOST = env.read_integer("CHAT_FINISH_LOST", 1, most=100)
# Beside an SQLite database, which one machine has. Processes at a PostgreSQL may be on several, and so is no default.
CHAT_JOURNAL = env.read_directory(
    "CHAT_JOURNAL",
    f"{DATABASES['default']['NAME']}-answers" if DATABASES["default"]["ENGINE"] == addresses.SQLITE else "",
)
# Archives that users export and import. Processes on several machines need one that all of them see.
CHAT_EXCHANGE_DIRECTORY = env.read_directory(
    "CHAT_EXCHANGE_DIRECTORY",
    f"{DATABASES['default']['NAME']}-exchange"
    if DATABASES["default"]["ENGINE"] == addresses.SQLITE
    else str(BASE_DIR / "exchange"),
)
CHAT_IMPORT_MB = env.read_integer("CHAT_IMPORT_MB", 200, least=1, most=2000)
CHAT_USER_EXCHANGES = env.read_integer("CHAT_USER_EXCHANGES", 2, least=1, most=100)
CHAT_FINISH_BROKEN = env.read_integer("CHAT_FINISH_BROKEN", 0, most=100)
# Seconds for the head of a request, and for its body.
CHAT_HEAD_TIMEOUT = env.read_number("CHAT_HEAD_TIMEOUT", 15, least=0.1)
CHAT_BODY_TIMEOUT = env.read_number("CHAT_BODY_TIMEOUT", 30, least=0.1)

CHAT_HEARTBEAT = env.read_number("CHAT_HEARTBEAT", 15, least=0.1, most=15)
CHAT_MAX_ANSWER_CHARS = env.read_integer("CHAT_MAX_ANSWER_CHARS", 400_000, least=1, most=100_000_000)
CHAT_REFUSAL_MEMORY = env.read_number("CHAT_REFUSAL_MEMORY", 86_400, most=365 * env.DAY)
CHAT_MAX_RETRIES = env.read_integer("CHAT_MAX_RETRIES", 2, most=100)
CHAT_STAFF_RETRIES = env.read_integer("CHAT_STAFF_RETRIES", 4, least=1, most=1000)
CHAT_FAILING_PERCENT = env.read_integer("CHAT_FAILING_PERCENT", 50, most=100)
CHAT_MAX_PROMPT_CHARS = env.read_integer("CHAT_MAX_PROMPT_CHARS", 100_000, least=1, most=10_000_000)

# Who may be given links to a conversation: nobody, those with a login, or anybody; see chat.conversations.shares.
CHAT_SHARING = env.read_choice("CHAT_SHARING", "team", ("off", "team", "link"))

# What one user may; 0 = no limit. The admin has other limits for groups and users, see chat.accounting.quotas.
CHAT_USER_REQUESTS_PER_MINUTE = env.read_integer("CHAT_USER_REQUESTS_PER_MINUTE", 0)
CHAT_USER_STREAMS = env.read_integer("CHAT_USER_STREAMS", 0)
CHAT_USER_TOKENS_PER_DAY = env.read_integer("CHAT_USER_TOKENS_PER_DAY", 0, most=10**15)
# Far more than one user may cost in a month. A meter holds 92 billion, see chat.accounting.policies.
CHAT_USER_COST_PER_MONTH = env.read_decimal("CHAT_USER_COST_PER_MONTH", "0", most=Decimal(999_999))
CHAT_TIME_ZONE = env.read_time_zone("CHAT_TIME_ZONE", "UTC")
CHAT_RESERVE_OUTPUT = env.read_integer("CHAT_RESERVE_OUTPUT", 1000, most=MAX_TOKENS)

# Where alerts about budgets and reports of months go, see chat.accounting.outbox.
CHAT_ALERT_MAIL = addresses.read_mail_addresses("CHAT_ALERT_MAIL")
CHAT_REPORT_MAIL = addresses.read_mail_addresses("CHAT_REPORT_MAIL")
CHAT_ALERT_WEBHOOK = addresses.read_webhook("CHAT_ALERT_WEBHOOK")
CHAT_ALERT_SECRET = env.read_secret("CHAT_ALERT_SECRET")
CHAT_ALERT_PRIVATE = env.read_switch("CHAT_ALERT_PRIVATE", default=False)
[CHAT_MAIL_FROM] = addresses.read_mail_addresses("CHAT_MAIL_FROM", "chatsite@localhost")
_MAIL = addresses.read_mail_url("CHAT_MAIL_URL")
EMAIL_HOST, EMAIL_PORT = _MAIL.host or "localhost", _MAIL.port or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _MAIL.user, _MAIL.password
EMAIL_USE_TLS, EMAIL_USE_SSL = _MAIL.scheme == "smtp+tls", _MAIL.scheme == "smtps"
EMAIL_TIMEOUT = 10
for name, receivers in {"CHAT_ALERT_MAIL": CHAT_ALERT_MAIL, "CHAT_REPORT_MAIL": CHAT_REPORT_MAIL}.items():
    if receivers and not _MAIL.host:
        env.refuse(name, "needs CHAT_MAIL_URL, the server that takes mail")
if CHAT_ALERT_WEBHOOK and not CHAT_ALERT_SECRET:
    env.refuse("CHAT_ALERT_WEBHOOK", "needs CHAT_ALERT_SECRET, by which its receiver knows that an alert is ours")

# A character of a question may be twelve bytes of a request: two \u escapes in JSON, or four % escapes in a form.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(2_621_440, 12 * CHAT_MAX_PROMPT_CHARS)

if CHAT_LEASE < 3 * CHAT_CHECKPOINT:
    env.refuse("CHAT_LEASE", "must be at least three times CHAT_CHECKPOINT, or a busy server loses its own answers")


_PRICE_PARTS = "input/output[/cached[/written[/written for 1 h[/search]]]]"


def _read_prices() -> dict[str, Price]:
    """Read the prices of CHAT_PRICES, in US dollars for a million tokens and for a thousand searches."""
    prices: dict[str, Price] = {}
    for item in env.read_items("CHAT_PRICES"):
        model, _, figures = item.rpartition("=")
        parts = figures.split("/")
        if not _is_model(model) or not 2 <= len(parts) <= 6 or not all(parts):
            env.refuse("CHAT_PRICES", f"must list provider:model={_PRICE_PARTS}, not {env.quote(item)}")
        if not all(re.match(r"[+-]?(\d|\.\d|nan|inf)", part, re.ASCII | re.IGNORECASE) for part in parts):
            env.refuse("CHAT_PRICES", f"must list provider:model={_PRICE_PARTS}, not {env.quote(item)}")
        if model in prices:
            env.refuse("CHAT_PRICES", f"has two prices for {model}")
        dollars = [env.parse_decimal("CHAT_PRICES", part, HIGHEST_PRICE) for part in parts]
        # Without a price of its own, cached input costs what input costs; see `Price` for the others.
        prices[model] = Price(dollars[0], dollars[1], *(dollars[2:] or dollars[:1]))
    return prices


CHAT_PRICES = _read_prices()

env.warn_of_unknown_names()
