"""Where the site's CPU time goes under load: `python -m tests.bench.profile --target page`.

Needs py-spy, which looks at the process from outside and costs it nothing; it is no dependency of the site
(`pip install py-spy`). A line for each function: the share of the samples in which it, or something it called, was
running, and the share in which it was running itself. Recursion counts once.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.bench.__main__ import READY, WARMING, Load, Site, ask
from tests.bench.client import Target
from tests.bench.processes import run_listener, watch_process
from tests.support.services import find_free_port

RATE = 250  # samples a second


def profile_site(site: Site, target: Target, load: Load, raw: Path) -> float:
    """Write py-spy's folded stacks; return the CPU seconds for 100,000 tokens, questions included."""
    program = shutil.which("py-spy")
    if program is None:
        raise SystemExit("py-spy is not installed")
    visitors = site.make_visitors(load.streams + WARMING)
    with site.serve() as pid:
        ask(target, site.server.url, Load(WARMING, 100, 100, 0), visitors[:WARMING])
        seconds = str(round(READY + load.seconds))
        command = [program, "record", "--format", "raw", "--nonblocking", "--rate", str(RATE)]
        with (
            watch_process(pid) as gauge,
            subprocess.Popen(
                [*command, "--duration", seconds, "--output", str(raw), "--pid", str(pid)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as spy,
        ):
            ask(target, site.server.url, load, visitors[WARMING:])
            spy.wait()
    return gauge.cpu * 100_000 / (load.streams * load.tokens)


def count_shares(raw: str) -> tuple[Counter[str], Counter[str]]:
    """Return the samples of each function, with what it called and by itself; lines of one function are added up."""
    inclusive: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        functions = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        for function in set(functions):
            inclusive[function] += int(count)
        own[functions[-1]] += int(count)
    return inclusive, own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=["json", "page"], default="page")
    parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--lines", type=int, default=60)
    parser.add_argument("--within", default="", help="only stacks with this in them")
    parser.add_argument("--keep", type=Path, help="keep py-spy's folded stacks here")
    asked = parser.parse_args()
    with ExitStack() as stack:
        port = find_free_port()
        stack.enter_context(run_listener("-m", "tests.bench.provider", str(port), port=port))
        site = stack.enter_context(Site(asked.server, "sqlite", "memory", port))
        raw = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "raw"
        cpu = profile_site(site, asked.target, Load(asked.streams, asked.tokens, asked.rate, 1), raw)
        stacks = raw.read_text()
    inclusive, own = count_shares("\n".join(line for line in stacks.splitlines() if asked.within in line))
    total = sum(own.values())
    print(f"{total} samples at {RATE} a second; {cpu:.1f} CPU-s for 100,000 tokens")
    for title, counted in (("with what it called", inclusive), ("by itself", own)):
        print(f"\n{title}")
        for function, count in counted.most_common(asked.lines):
            print(f"{count / total:6.1%}  {function}")


if __name__ == "__main__":
    main()
