"""A hostile server's line, event or body of 200 MB costs no more memory than the limit, however it is cut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEBIBYTE = 1_048_576
MOST = 16

PROGRAM = """
import resource, sys
from chat.core.errors import ChatError
from chat.providers.sse import SSESplitter

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

splitter = SSESplitter()
before = peak()
head, piece, size = {head!r}, {piece!r}, 0
read = (piece * ({read} // len(piece) + 1))[:{read}]
try:
    list(splitter.feed(head))
    while size < 200_000_000:
        list(splitter.feed(read))
        size += len(read)
except ChatError:
    pass
else:
    sys.exit("no limit")
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("head", "piece", "read"),
    [
        pytest.param(b"data: ", b"a", 65_536, id="one line"),
        pytest.param(b"data: ", b"a", 16, id="one line in very small pieces"),
        pytest.param(b"data: ", b"a", 100, id="one line in small pieces"),
        pytest.param(b"data: {\n", b"data: a\n", 65_536, id="one event of many lines"),
        pytest.param(b"data: {\n", b"data:\n", 600, id="one event of empty lines"),
        pytest.param(b": ", b"a", 65_536, id="a comment"),
    ],
)
def test_memory_is_bounded(head: bytes, piece: bytes, read: int) -> None:
    program = PROGRAM.format(head=head, piece=piece, read=read)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MOST * MEBIBYTE
