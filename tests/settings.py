"""The site's settings for tests: a database in a file (a WAL needs one), a fast password hasher, no waiting."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("SECRET_KEY", "only for tests")

from chatsite.settings import *  # noqa: F403
from chatsite.settings import DATABASES

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["CONN_MAX_AGE"] = 0  # each test has threads of its own
    DATABASES["default"]["TEST"] = {"NAME": str(Path(tempfile.mkdtemp(prefix="chatsite-")) / "test.sqlite3")}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]

# Tests that are about limits set their own.
CHAT_USER_REQUESTS_PER_MINUTE = CHAT_USER_STREAMS = 0
