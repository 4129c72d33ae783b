"""The build backend of pyproject.toml, which builds nothing: `pip install .` says what to do instead.

The site is run from its checkout. Its templates, static files and deployment files lie beside the code, its database
and secret key are kept there by default, and requirements.txt pins every dependency with a hash, which no wheel can.
"""

from __future__ import annotations

import sys
from typing import NoReturn

REASON = """
Chatsite is a site that is run from its checkout, not a package to install: its templates and static files lie beside
the code, and only requirements.txt pins the dependencies that it was tested with.

    make setup && make run                                         to try it out
    pip install --require-hashes -r requirements.txt               for a server, see docs/deploy.md
"""


def _refuse(*arguments: object, **options: object) -> NoReturn:
    sys.exit(REASON)


# The hooks of PEP 517 and PEP 660 that pip, build and uv call; the first of them ends the attempt.
get_requires_for_build_wheel = get_requires_for_build_sdist = get_requires_for_build_editable = _refuse
prepare_metadata_for_build_wheel = prepare_metadata_for_build_editable = _refuse
build_wheel = build_sdist = build_editable = _refuse
