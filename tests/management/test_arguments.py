"""What an operator mistypes is refused in one line, and nothing is begun."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from chat.models import ApiToken, User

NUMBERS = ("-1", "1e3", "1_0", "1,5", "x", "", " ", "\N{ARABIC-INDIC DIGIT THREE}", "9" * 30, "9" * 5000)

# By command, an option with a number, and what the command needs besides.
COMMANDS = (
    ("prune", "--ledger"),
    ("prune", "--conversations"),
    ("rebuild_search", "--batch"),
    ("simulate_limits", "--days", "--cost-per-day=1"),
    ("simulate_limits", "--tokens-per-day"),
    ("simulate_limits", "--cost-per-month"),
    ("complete_batch", "--concurrency", "in.jsonl", "out.jsonl"),
    ("complete_batch", "--max-tokens", "in.jsonl", "out.jsonl"),
    ("demologin", "--port"),
    ("serve", "--port"),
)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_a_number_that_is_none_is_refused(command: tuple[str, ...], number: str) -> None:
    name, option, *others = command
    with pytest.raises(CommandError, match=f"argument {option}: ") as refusal:
        call_command(name, *others, f"{option}={number}")
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate_limits", "--cost-per-day=1", "--site", "--group=Team"),
        ("rebuild_search", "--after=8a2f6a9c-1f0b-4d56-9d4e-0f6a1b2c3d4e"),
        ("complete_batch", "in.jsonl", "out.jsonl", "--concurrency=1001"),
        ("apitoken", "ada", "--name="),
        ("apitoken", "ada", f"--name={'x' * 81}"),
    ],
)
def test_arguments_that_would_be_passed_over_are_refused(db: None, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        call_command(*arguments)


class ClosedPipe(StringIO):
    """An output that nobody reads."""

    def flush(self) -> None:
        raise BrokenPipeError


def test_no_token_is_kept_that_nobody_has_read(user: User) -> None:
    with pytest.raises(BrokenPipeError):
        call_command("apitoken", user.username, stdout=ClosedPipe())
    assert not ApiToken.objects.exists()
