"""The changes of a page as its stream brings them."""

from __future__ import annotations

import re

PARTIAL = re.compile(r'<hx-partial hx-target="([^"]*)" hx-swap="([^"]*)">(.*?)</hx-partial>', re.DOTALL)
