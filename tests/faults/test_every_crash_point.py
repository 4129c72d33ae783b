"""A process may end at any point of an answer's life: what the next one makes of it is one of a few states.

Each scenario is run once to its end, which notes all points: before and after each statement of the database, each
publication, each request and read of the provider, each run of a tool. Then it is run once more for each of them, with
an answer of its own, in a process that ends there; another process sweeps and recovers, and the judge looks at what
there is: see `look_at`. `make faults` tries all points, `make test` some of them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
from django.db import connection, connections
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import rollups
from chat.accounts.visitors import Visitor
from chat.conversations import actions
from chat.core.errors import ChatError
from chat.generation import supervisor, sweeper
from chat.generation.process import make_process
from chat.generation.recovery import NO_RESULT
from chat.generation.runner import Runner
from chat.models import LIVE, Conversation, Message, Meter, Outcome, ProviderCall, ToolCall, User
from chat.providers import registry
from chat.tasks import run_in_thread
from tests.faults import choose_length
from tests.support.crash_seam import CrashSeam, Point
from tests.support.keeping_storyteller import KeepingStoryteller
from tests.support.lasting_log import LastingBroker, LastingLogs, split
from tests.support.storyteller import DOTTED_PATH, Story, Storyteller
from tests.support.waiting import wait_until

pytestmark = pytest.mark.database

HERE = "tests.faults.test_every_crash_point"
MODEL = "teller:story"

# Which of the points are tried: one trial takes 0.07 s, and all scenarios have some thousand points.
EVERY = choose_length(11, 1)
# Fewer of them where the provider keeps its responses, or where the process drains: the rest of the life is the same.
EVERY_OF_VARIANTS = choose_length(23, 1)

# How long ago the leases ended that the recovery finds: longer than any process waits, but not hours.
AGO = timedelta(seconds=60)

PLAIN: Story = ["Once upon a time there was."]
WITH_TOOLS: Story = ["Let me ring.", ("ring", "chime"), " And once more.", ("toll",), " It rang thrice."]
BUSY = partial(ChatError, "rate_limited", retry_after=0.0)


class Tools:
    """What the tools of a test do: each run is counted, and goes through the seam."""

    seam = CrashSeam()
    runs: ClassVar[Counter[str]] = Counter()

    @classmethod
    def run(cls, name: str) -> str:
        with cls.seam.pass_step(f"run {name}"):
            cls.runs[name] += 1
            return f"{name} for the {cls.runs[name]}. time"


async def ring() -> str:
    """Ring the bell."""
    return Tools.run("ring")


async def chime() -> str:
    """Chime."""
    return Tools.run("chime")


async def toll() -> str:
    """Toll the bell."""
    return Tools.run("toll")


@dataclass(frozen=True)
class Scenario:
    """What happens to an answer."""

    story: Story = field(default_factory=lambda: PLAIN)
    troubles: Sequence[Callable[[], ChatError]] = ()
    break_after: int | None = None
    stop_after: int | None = None
    """The user stops it after so many batches."""
    finish_lost: int = 1
    is_title_written: bool = False
    is_continued: bool = False
    """The user continues an answer that was interrupted."""
    is_lost_before: bool = False
    """It is a process that goes on with an answer which another one has lost."""
    is_sent_again: bool = False
    """The user's browser sends the question again to the next process."""
    log_outlives: bool = True
    is_kept: bool = False
    """The provider keeps its responses."""
    leave_after: int | None = None
    """The process is told to end after so many batches, and leaves the answer to the next one."""

    def __str__(self) -> str:
        return next(name for name, scenario in SCENARIOS.items() if scenario is self)


SCENARIOS = {
    "a plain answer": Scenario(is_title_written=True),
    "a plain answer, nothing is gone on with": Scenario(finish_lost=0),
    "a plain answer, readers' log in memory": Scenario(log_outlives=False),
    "a plain answer, asked again after the crash": Scenario(is_sent_again=True),
    "two loops of tools": Scenario(WITH_TOOLS),
    "two loops of tools, readers' log in memory": Scenario(WITH_TOOLS, log_outlives=False),
    "a provider that is busy twice": Scenario(troubles=(BUSY, BUSY)),
    "a provider that breaks off": Scenario(break_after=2),
    "stopped by its user": Scenario(stop_after=3),
    "continued by its user": Scenario(is_continued=True),
    "gone on with, and lost again": Scenario(WITH_TOOLS, is_lost_before=True, finish_lost=2),
    "gone on with, and lost for good": Scenario(is_lost_before=True, finish_lost=1),
    "kept by the provider": Scenario(is_kept=True),
    "kept by the provider, readers' log in memory": Scenario(WITH_TOOLS, is_kept=True, log_outlives=False),
    "kept by the provider, stopped by its user": Scenario(is_kept=True, stop_after=3),
    "kept by the provider, followed, and lost again": Scenario(is_kept=True, is_lost_before=True, finish_lost=2),
    "left by a process that ends": Scenario(leave_after=3),
    "left by a process that ends, among tools": Scenario(WITH_TOOLS, leave_after=5, log_outlives=False),
    "left by a process that ends, kept by the provider": Scenario(is_kept=True, leave_after=3),
}


@pytest.fixture
def seam(transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[CrashSeam]:
    monkeypatch.setitem(registry.PROVIDERS, "teller", DOTTED_PATH)
    settings.CHAT_MODELS = [MODEL]
    settings.CHAT_TOOLS = [f"{HERE}.{name}" for name in ("ring", "chime", "toll")]
    settings.CHAT_PROVIDERS = {}
    settings.CHAT_CHECKPOINT = 3600.0  # the test has checkpoints written itself
    settings.CHAT_FLUSH_MS = 0
    settings.CHAT_MAX_RETRIES = 2
    settings.CHAT_FINISH_BROKEN = 1
    # Runs are to have the same points: on a slow machine one would sweep or look at logins more often than another.
    monkeypatch.setattr(sweeper, "SWEEP_EVERY", 3600.0)
    monkeypatch.setattr(supervisor, "CHECK_LOGINS_EVERY", 3600.0)
    # There are limits, so that each call makes a reservation.
    settings.CHAT_USER_STREAMS = settings.CHAT_USER_REQUESTS_PER_MINUTE = 1000
    settings.CHAT_USER_TOKENS_PER_DAY = 10**9
    # Connections are closed after use, so that a transaction which was open when its process "died" is rolled back.
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    seam = CrashSeam()
    with seam.watch_database():
        yield seam


class NotReachedError(Exception):
    """A process ended before the point at which it was to die: what a sweep does may come earlier or later."""


class Trial:
    """One answer of a scenario, from its question to its recovery."""

    def __init__(self, scenario: Scenario, settings: Settings, seam: CrashSeam) -> None:
        self.scenario, self.seam = scenario, seam
        make_teller = KeepingStoryteller if scenario.is_kept else Storyteller
        self.teller = make_teller(
            seam, scenario.story, [trouble() for trouble in scenario.troubles], scenario.break_after
        )
        self._leaving: asyncio.Future[Any] | None = None
        self.logs = LastingLogs()
        self.user = User.objects.create(username=str(uuid.uuid4()))
        self.turn = uuid.uuid4()
        self.is_asked = False
        """Whether the question was taken, so that its browser knows of it."""
        self.at_death = Found(self)
        settings.CHAT_PROVIDERS["teller"] = {"teller": self.teller}
        Tools.seam, Tools.runs = seam, Counter()

    # Processes

    def run(self, die_at: Point | None = None) -> list[Point]:
        """Run a process up to a point, or to its end, then one that recovers; return the points of the first."""
        if self.scenario.is_continued:
            self._prepare()
        if self.scenario.is_lost_before:
            self._run_process(self._run_first_process, Point("read", "after", 2))
            self._age_leases()
        self._run_process(self._run_first_process, die_at)
        self.at_death = Found(self)
        with asyncio.Runner() as loop:
            loop.run(self._recover())
        self.found = Found(self)
        return self.seam.passed

    def _run_process(self, life: Callable[[Point | None], Coroutine[Any, Any, None]], die_at: Point | None) -> None:
        with asyncio.Runner() as loop:
            loop.get_loop().set_exception_handler(lambda loop, context: None)  # tasks that ended with the process
            loop.run(life(die_at))
        asyncio.run(run_in_thread(_do_nothing))  # waits until what the process had begun in its thread is over
        has_died = self.seam.is_dead
        self.seam.disarm()
        if has_died != (die_at is not None):
            raise NotReachedError(die_at)

    async def _run_first_process(self, die_at: Point | None) -> None:
        runner = self._make_runner()
        is_taking_up = await run_in_thread(Message.objects.live().filter(conversation__user=self.user).exists)
        if not is_taking_up:
            runner.supervisor.wake()
            await self.seam.wait_until_quiet()
        self.teller.pause = partial(self._pause, runner)
        died = asyncio.ensure_future(self.seam.arm(die_at).wait())
        doing = asyncio.ensure_future(self._finish_lost(runner) if is_taking_up else self._ask(runner))
        await asyncio.wait({died, doing}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done() and not self.seam.is_dead:
            doing.result()
            await self.seam.wait_until_quiet()
            if self._leaving is None:
                await self._tick(runner)
            else:
                await asyncio.wait({died, self._leaving}, return_when=asyncio.FIRST_COMPLETED)

    def _make_runner(self) -> Runner:
        runner = make_process().runner
        runner.resources.broker = LastingBroker(self.logs, self.seam, outlives=self.scenario.log_outlives)
        return runner

    async def _tick(self, runner: Runner) -> None:
        """Have the supervisor write a checkpoint now."""
        await runner.supervisor.aclose()
        runner.supervisor.wake()
        await self.seam.wait_until_quiet()

    async def _pause(self, runner: Runner, batches: int) -> None:
        if self.scenario.is_kept and batches == 1:
            # Another task writes the bookmark. In each run it is written at the same point.
            await self.seam.wait_until_quiet()
        if batches % 3 == 2:
            await self._tick(runner)
        if batches == self.scenario.stop_after:
            asyncio.ensure_future(self._stop(runner))  # noqa: RUF006 - the provider waits until it is cut off
            await asyncio.Event().wait()
        if batches == self.scenario.leave_after and self._leaving is None:
            self._leaving = asyncio.ensure_future(runner.drain(0))
            await asyncio.Event().wait()

    async def _stop(self, runner: Runner) -> None:
        answer = await run_in_thread(Message.objects.live().filter(conversation__user=self.user).get)
        await actions.stop_answer(runner, self.user, answer.pk)

    async def _ask(self, runner: Runner) -> None:
        visitor = Visitor(self.user.pk)
        if self.scenario.is_continued:
            answer = await run_in_thread(Message.objects.answers().filter(conversation__user=self.user).get)
            await actions.continue_answer(runner, self.user, visitor, answer.pk)
        else:
            fields = {"content": "Tell me a story.", "model": MODEL, "turn": str(self.turn)}
            await actions.ask(runner, self.user, visitor, fields)
        self.is_asked = True
        await self._wait_for_ends(runner)

    async def _finish_lost(self, runner: Runner) -> None:
        runner.supervisor.wake()
        await self.seam.wait_until_quiet()
        await self._wait_for_ends(runner)

    async def _wait_for_ends(self, runner: Runner) -> None:
        await wait_until(lambda: not runner.live_answers)
        await self.seam.wait_until_quiet()

    async def _recover(self) -> None:
        """Do what another process does: sweep, and go on with the answers that it finds."""
        runner = self._make_runner()
        self.teller.pause = _skip_wait
        if self.scenario.is_sent_again:
            await self._ask_again(runner)
        await run_in_thread(self._age_leases)
        while not await run_in_thread(self._is_over):
            runner.supervisor.sweeper.sweep_soon()
            await self._tick(runner)
        await runner.supervisor.aclose()
        await run_in_thread(rollups.count, 10_000)  # so that no trial leaves rows to count to the next one

    async def _ask_again(self, runner: Runner) -> None:
        fields = {"content": "Tell me a story.", "model": MODEL, "turn": str(self.turn)}
        await actions.ask(runner, self.user, Visitor(self.user.pk), fields)
        self.is_asked = True
        await wait_until(lambda: not runner.live_answers)

    def _age_leases(self) -> None:
        Message.objects.filter(lease_until__isnull=False).update(lease_until=timezone.now() - AGO)
        ProviderCall.objects.filter(lease_until__isnull=False).update(lease_until=timezone.now() - AGO)

    def _is_over(self) -> bool:
        is_live = Message.objects.filter(conversation__user=self.user, status__in=LIVE).exists()
        return not is_live and not ProviderCall.objects.filter(outcome=Outcome.RUNNING).exists()

    def _prepare(self) -> None:
        """Make an answer that was interrupted after its second word."""
        conversation = Conversation.objects.create(user=self.user, title="A story")
        question = Message.objects.create(conversation=conversation, role="user", text="Tell me a story.")
        text = "Once upon"
        answer = Message.objects.create(
            conversation=conversation,
            parent=question,
            role="assistant",
            status="interrupted",
            error_code="server_lost",
            model=MODEL,
            text=text,
            outline=[["token", len(text)]],
            position=len(text),
            fence=1,
        )
        Conversation.objects.filter(pk=conversation.pk).update(leaf=answer)
        ProviderCall.objects.create(
            user=self.user, answer=answer, model=MODEL, outcome=Outcome.INTERRUPTED, error_code="server_lost"
        )


class Found:
    """What the database has of a trial's user."""

    def __init__(self, trial: Trial) -> None:
        self.answers = list(Message.objects.answers().filter(conversation__user=trial.user))
        self.messages = Message.objects.filter(conversation__user=trial.user).count()
        self.calls = list(ProviderCall.objects.filter(user=trial.user).order_by("pk"))
        self.tools = list(ToolCall.objects.filter(answer__conversation__user=trial.user).order_by("pk"))
        self.meters = list(Meter.objects.filter(key__startswith=f"user/{trial.user.pk}/"))
        self.requests = len(trial.teller.requests)
        self.cancelled = set(trial.teller.cancelled) if isinstance(trial.teller, KeepingStoryteller) else set()

    @property
    def answer(self) -> Message | None:
        assert len(self.answers) <= 1, "a question was kept twice"
        return self.answers[0] if self.answers else None

    def count(self, outcome: Outcome) -> int:
        return sum(call.outcome == outcome for call in self.calls if call.purpose == ProviderCall.Purpose.ANSWER)


def judge(trial: Trial, whole: Found) -> list[str]:
    """Return what is wrong with what was found after the recovery; `whole` is what there is without a crash."""
    return [name for name, is_right in look_at(trial, whole) if not is_right]


def look_at(trial: Trial, whole: Found) -> Iterator[tuple[str, bool]]:
    found, before, scenario, text = trial.found, trial.at_death, trial.scenario, trial.teller.text
    answer = found.answer
    yield "each call is settled", not any(call.outcome == Outcome.RUNNING for call in found.calls)
    yield "each request has its row", found.requests <= len(found.calls)
    yield "what was left may be taken at once", not is_left_with_a_lease(before.answer)
    if is_response_known(before):
        yield "a response that is known is not asked for again", found.requests == whole.requests
        yield "it stays on its row", len(found.calls) == len(whole.calls)
    yield "nothing is held any more", not any(meter.held for meter in found.meters)
    yield "what is used is what the ledger has", sum_used_tokens(found) == sum_ledger_tokens(found)
    yield "no position has had two contents", not trial.logs.torn
    yield "no tool ran twice", all(runs == 1 for runs in Tools.runs.values())
    if answer is None:
        yield (
            "what was not kept was not answered",
            not (trial.is_asked or found.messages or found.calls or found.requests),
        )
        return
    yield "a question and its answer", found.messages == 2
    yield "it has one of the states", read_state(answer) in list_allowed_states(trial)
    yield "its positions are those of its events", answer.restore_transcript().position == answer.position
    yield "readers had what it has", is_what_readers_had(trial, answer)
    yield "its text is a beginning", text.startswith(answer.text)
    if answer.status == "complete":
        yield "its text is whole", answer.text == text
        yield "each settled step was asked for once", found.count(Outcome.COMPLETE) == count_steps(scenario)
        not_known = {row.name for row in found.tools if row.result == NO_RESULT}
        had = {name for part in scenario.story if not isinstance(part, str) for name in part}
        yield "each tool ran, or its result is not known", had - not_known <= Tools.runs.keys()
    if before.answer is not None and not before.answer.is_live:
        yield (
            "what had ended stays",
            (read_state(before.answer), before.answer.text) == (read_state(answer), answer.text),
        )
        yield "of what had ended nothing is asked", before.requests == found.requests
    yield "one more call than without the crash", found.requests <= whole.requests + 1
    kept = {row.pk: row.result for row in before.tools if row.finished_at is not None}
    yield "results that were kept stay", kept.items() <= {row.pk: row.result for row in found.tools}.items()


def is_left_with_a_lease(answer: Message | None) -> bool:
    """Return whether an answer that no process owns cannot be taken up yet because of its lease."""
    if answer is None or not answer.is_live or answer.owner:
        return False
    return answer.lease_until is None or answer.lease_until > timezone.now()


def is_response_known(found: Found) -> bool:
    """Return whether the response of the call that runs can be followed."""
    kept = found.answer.bookmark if found.answer is not None and found.answer.is_live else None
    if kept is None or kept["id"] in found.cancelled:
        return False
    return any(call.pk == kept["call"] and call.outcome == Outcome.RUNNING for call in found.calls)


def count_steps(scenario: Scenario) -> int:
    """Return how many upstream calls the story takes: each ends with calls of tools, or with the story."""
    return 1 + sum(not isinstance(part, str) for part in scenario.story)


def read_state(answer: Message) -> tuple[str, str]:
    return answer.status, answer.error_code


def list_allowed_states(trial: Trial) -> set[tuple[str, str]]:
    """Return the states in which an answer may end, by what had happened when its process ended."""
    scenario, before = trial.scenario, trial.at_death.answer
    if before is not None and not before.is_live:
        return {read_state(before)}
    if scenario.stop_after is not None and before is not None and before.stop_requested_at is not None:
        return {("stopped", "")}
    if before is not None and before.losses >= scenario.finish_lost:
        return {("interrupted", "server_lost")}
    return {("complete", "")}


def is_what_readers_had(trial: Trial, answer: Message) -> bool:
    """Return whether the answer has, at each position that was published, what was published there."""
    kept = dict(split(0, answer.restore_transcript().read_since(0)))
    return trial.logs.shown[str(answer.pk)].items() <= kept.items()


def sum_used_tokens(found: Found) -> int:
    return sum(meter.used for meter in found.meters if meter.measure == "tokens")


def sum_ledger_tokens(found: Found) -> int:
    return sum(call.input_tokens + call.output_tokens for call in found.calls)


def is_worth_a_trial(point: Point) -> bool:
    """Return whether something has changed since the point before: after a SELECT nothing has."""
    return point.side == "before" or not point.label.startswith("SELECT")


async def _skip_wait(batches: int) -> None:
    pass


def _do_nothing() -> None:
    pass


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=str)
def test_after_every_crash_point_the_answer_is_in_a_state_of_the_table(
    scenario: Scenario, settings: Settings, seam: CrashSeam
) -> None:
    settings.CHAT_FINISH_LOST = scenario.finish_lost
    settings.CHAT_TITLE_MODEL = MODEL if scenario.is_title_written else ""
    undisturbed = Trial(scenario, settings, seam)
    points = undisturbed.run()
    assert judge(undisturbed, undisturbed.found) == []
    wrong: dict[str, list[str]] = {}
    missed: list[Point] = []
    is_variant = scenario.is_kept or scenario.leave_after is not None
    every = EVERY_OF_VARIANTS if is_variant else EVERY
    # All scenarios have the same first points. Each begins to count at another one, and so does each database, so that
    # together they try more.
    first = (list(SCENARIOS.values()).index(scenario) + len(connection.vendor)) % every
    tried = [*filter(is_worth_a_trial, points)][first::every]
    for point in tried:
        trial = Trial(scenario, settings, seam)
        try:
            trial.run(point)
        except NotReachedError:
            missed.append(point)
            continue
        if faults := judge(trial, undisturbed.found):
            wrong[str(point)] = faults
    print(f"{scenario}: {len(points)} points")
    assert len(missed) <= max(1, len(tried) // 20), missed
    assert not wrong, "\n".join(f"{point}: {', '.join(faults)}" for point, faults in wrong.items())
