"""The site's settings for tests: a database in a file (a WAL needs one), a fast password hasher, no waiting."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("SECRET_KEY", "only for tests")

from chatsite.addresses import SQLITE
from chatsite.settings import *  # noqa: F403
from chatsite.settings import DATABASES, INSTALLED_APPS

# Of each process that runs tests, as its database is.
CHAT_JOURNAL = tempfile.mkdtemp(prefix="chatsite-journal-")

CHAT_EXCHANGE_DIRECTORY = tempfile.mkdtemp(prefix="chatsite-exchange-")

if DATABASES["default"]["ENGINE"] == SQLITE:
    DATABASES["default"]["TEST"] = {"NAME": str(Path(tempfile.mkdtemp(prefix="chatsite-")) / "test.sqlite3")}

# What a test changes counts at once.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
INSTALLED_APPS = ["tests.support.quick_flush", *INSTALLED_APPS]
# Each test's client has middleware of its own, and looking for all static files took a sixth of a test's time.
SERVESTATIC_USE_FINDERS = SERVESTATIC_USE_STATIC_ROOT = False
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]

# Tests that are about limits set their own.
CHAT_USER_REQUESTS_PER_MINUTE = CHAT_USER_STREAMS = 0
