"""Works through a file of prompts."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import time
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.batch.input import BadLine, Defaults, Item, check_model, count_lines, read_prompts
from chat.batch.results import BusyFileError, ForeignFileError, Result, Results
from chat.batch.worker import Tally, Work
from chat.management.numbers import make_parser
from chat.models import User

EPILOG = """
A line of the input is a JSON object with a prompt, or with messages as OpenAI's API has them:

  {"id": "q1", "prompt": "What is a turn?"}
  {"id": "q2", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]}
  {"prompt": "Name a bird.", "model": "openai:gpt-6.1-terra", "max_tokens": 100, "temperature": 0, "effort": "low",
   "response_schema": {"type": "object", "properties": {"bird": {"type": "string"}}}}       (on one line)

A line without an id has that of its number, such as line-3: give ids if lines may move. The output has a line for
each prompt, in the order in which they were answered:

  {"id", "text", "status": "complete"|"interrupted", "finish_reason", "usage", "error": null|{"code", "message", …},
   "notices": [{"code", "message"}] where the model was asked without something that the line wishes for}

Run the same command again to go on after an interruption, a crash, or more lines in the input: an id that the output
has is not asked again, and a last line that was torn is repaired. --retry-failed asks those again that were
interrupted. A line that cannot be read is reported with its number and does not stop the others.

A provider that refuses for now (429, 5xx) is asked again as CHAT_MAX_RETRIES says, after the time that it names; all
prompts for that model wait meanwhile. Each try is on the ledger, as "batch". With --user the calls are that user's and
count towards their limits, and a limit that ends within a minute is waited for; without, they are the site's.

  manage.py complete_batch questions.jsonl answers.jsonl --model openai:gpt-6-luna --concurrency 8

The exit code is 0 when all lines have an answer, 1 when some failed or could not be read, 130 after Ctrl+C.
"""

# Seconds between two lines of progress where there is no terminal.
QUIET = 10.0

WIDTH = 30

# Each has a task from the beginning on; no provider answers more calls of one key at once.
MAX_CALLS = 1000

# More than any model writes.
MAX_TOKENS = 100_000_000


def parse_model(text: str) -> str:
    """Parse the name of one of the site's models."""
    try:
        return check_model(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


class Command(BaseCommand):
    """`manage.py complete_batch`."""

    help = "Answer a file of prompts, several at a time, without streaming; an interrupted run goes on where it ended."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("input", type=Path, metavar="in.jsonl", help="the prompts, a JSON object a line")
        parser.add_argument(
            "output", type=Path, metavar="out.jsonl", help="what comes of them; added to when it exists"
        )
        parser.add_argument("--model", type=parse_model, help="provider:model; default: the first of CHAT_MODELS")
        parser.add_argument(
            "--concurrency",
            type=make_parser("a number of calls", most=MAX_CALLS),
            default=4,
            metavar="N",
            help="calls at once; default: 4",
        )
        parser.add_argument("--user", metavar="NAME", help="whose calls they are; default: the site's")
        parse_tokens = make_parser("a number of tokens", most=MAX_TOKENS)
        parser.add_argument("--max-tokens", type=parse_tokens, metavar="N", help="how long an answer may be")
        parser.add_argument("--system", default="", metavar="TEXT", help="what the model is told first")
        parser.add_argument("--retry-failed", action="store_true", help="ask those again that were interrupted")

    def handle(self, *args: Any, input: Path, output: Path, retry_failed: bool, **options: Any) -> None:  # noqa: A002
        chosen: str = options["model"] or settings.CHAT_MODELS[0]
        defaults = Defaults(chosen, options["system"], options["max_tokens"])
        progress = Progress(self)
        work = Work(_find_user(options["user"]), options["concurrency"], progress.report)
        progress.tally = work.tally
        for path in (input, output):
            _refuse_special(path)
        try:
            work.tally.total = count_lines(input)
            with Results(output, drops_failed=retry_failed) as results:
                asyncio.run(_run_until_stopped(work, read_prompts(input, defaults), results))
        except BusyFileError:
            raise CommandError(f"Another run is writing to {output}.") from None
        except ForeignFileError as foreign:
            raise CommandError(
                f"{output}: line {foreign.number} is not a result of a batch, so nothing is written there."
            ) from None
        except OSError as error:
            raise CommandError(f"{error.filename or output}: {error.strerror}") from None  # a full disk names no file
        except (KeyboardInterrupt, asyncio.CancelledError):
            progress.show(is_end=True)
            again = shlex.join(["manage.py", *sys.argv[1:]])
            raise CommandError(
                f"Stopped. {output} has what was done; the same command goes on:\n  {again}", returncode=130
            ) from None
        progress.show(is_end=True)
        _say_failures(work.tally, output)


def _refuse_special(path: Path) -> None:
    """Raise `CommandError` for a pipe or a device: both files are read from their beginning, the input twice."""
    if path.exists() and not path.is_file():
        raise CommandError(f"{path} is no ordinary file, as both files of a batch have to be.")


def _find_user(name: str | None) -> User | None:
    if name is None:
        return None
    found = User.objects.filter(username=name, is_active=True).first()
    if found is None:
        raise CommandError(f"There is no active user {name!r}.")
    return found


async def _run_until_stopped(work: Work, items: Iterator[Item | BadLine], results: Results) -> None:
    """Run until the end, or until Ctrl+C or a service manager's signal, which end it properly."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run makes one
    with suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work.run(items, results)


def _say_failures(tally: Tally, output: Path) -> None:
    if tally.failed or tally.bad:
        which = [f"{tally.failed:,} failed, see {output}; --retry-failed asks them again"] if tally.failed else []
        which += [f"{tally.bad:,} could not be read, see above"] if tally.bad else []
        raise CommandError(f"{'; '.join(which)}.")


class Progress:
    """A bar on a terminal, a line now and then elsewhere, both on stderr; and every line that could not be read."""

    tally: Tally

    def __init__(self, command: BaseCommand) -> None:
        self._stderr = command.stderr
        self._is_terminal = self._stderr.isatty()
        self._began = time.monotonic()
        self._shown = self._began

    def report(self, item: Item | BadLine, result: Result | None) -> None:
        if isinstance(item, BadLine):
            self._say(f"line {item.number}: {item.sentence}")
        if time.monotonic() - self._shown > (0.1 if self._is_terminal else QUIET):
            self.show()

    def show(self, *, is_end: bool = False) -> None:
        self._shown = time.monotonic()
        tally = self.tally
        words = f"{tally.lines_done:,} of {tally.total:,}"
        if tally.known:
            words += f", {tally.known:,} of them before"
        if tally.failed + tally.bad:
            words += f", {tally.failed + tally.bad:,} failed"
        if not self._is_terminal:
            self._stderr.write(words, str)
            return
        done = WIDTH * tally.lines_done // max(1, tally.total)
        line = f"\r\033[K[{'#' * done}{'.' * (WIDTH - done)}] {words}{'' if is_end else self._write_time_left()}"
        self._stderr.write(line, str, ending="\n" if is_end else "")
        self._stderr.flush()

    def _write_time_left(self) -> str:
        """Write how long it may still take, from the pace so far."""
        worked = self.tally.complete + self.tally.failed
        if not worked:
            return ""
        seconds = (time.monotonic() - self._began) / worked * (self.tally.total - self.tally.lines_done)
        return f", {seconds / 60:.0f} min left" if seconds > 90 else f", {seconds:.0f} s left"

    def _say(self, sentence: str) -> None:
        self._stderr.write(f"\r\033[K{sentence}" if self._is_terminal else sentence)
