"""Ask a running site, over its own description, whatever schemathesis thinks of: no 5xx, no undeclared response.

It takes the path of schemathesis, and further options of `schemathesis run` after it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.provider_server import ProviderServer, Script
from tests.support.databases import serve_new_site

# Not `positive_data_acceptance`: a schema does not know which models are offered.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


def main(program: str, *options: str) -> int:
    """Return the exit code of schemathesis."""
    with ProviderServer.run_in_thread() as provider, tempfile.TemporaryDirectory() as directory:
        provider.script = Script(text="Because of the air.")
        environment = {"OPENAI_BASE_URL": provider.openai_url, "CHAT_MODELS": "openai:gpt-test"}
        with serve_new_site("uvicorn", Path(directory), **environment) as (server, token):
            command = [program, "run", f"{server.url}/api/schema/", "-H", f"Authorization: Bearer {token}"]
            command += ["--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--continue-on-failure"]
            return subprocess.run([*command, *options], cwd=directory, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
