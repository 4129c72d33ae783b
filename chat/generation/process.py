"""The objects that one process has once per event loop. They are made here, and handed on through constructors.

Only the outermost shells (views, sockets, probes, commands, the server's start and end) ask here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings

from chat.broker.base import Broker
from chat.broker.journal import Journal
from chat.broker.memory import MemoryBroker
from chat.conversations.share_watch import ShareWatch
from chat.generation.admission import SlotQueue
from chat.generation.background_call import BackgroundCalls
from chat.generation.checkpoint_reader import CheckpointReader
from chat.generation.live_answer import LiveAnswer
from chat.generation.next_questions import NextQuestionAsker
from chat.generation.notifications import Notices
from chat.generation.pacing import Pace
from chat.generation.resources import Resources
from chat.generation.runner import Runner
from chat.generation.supervisor import Supervisor
from chat.generation.sweeper import Sweeper
from chat.observability.event_loop import Pulse
from chat.providers.registry import Pool
from chat.tasks import OncePerLoop
from chat.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Process:
    """The runner, which has everything else that writes answers, and what their readers have in common."""

    runner: Runner
    checkpoints: CheckpointReader
    share_watch: ShareWatch


def make_process() -> Process:
    """Make these objects from the settings, for the running event loop."""
    resources = Resources(
        _make_broker(),
        Pool(settings.CHAT_PROVIDERS),
        Toolbox(settings.CHAT_TOOLS, settings.CHAT_MCP),
        SlotQueue(settings.CHAT_LIVE_ANSWERS, settings.CHAT_WAITING_ANSWERS),
        Pace(settings.CHAT_FLUSH_MS / 1000, lambda: resources.slots.given),
    )
    notices, background = Notices(), BackgroundCalls(resources.pool)
    lives: dict[UUID, LiveAnswer] = {}
    watchers: Counter[UUID] = Counter()
    sweeper = Sweeper(lives, watchers, resources, notices)
    supervisor = Supervisor(lives, watchers, background, resources, sweeper, Pulse())
    runner = Runner(lives, watchers, background, resources, notices, supervisor)
    runner.next_questions = asker = NextQuestionAsker(runner)
    sweeper.sweeps.append(asker.sweep)
    return Process(runner, CheckpointReader(), ShareWatch())


def _make_broker() -> Broker:
    if not settings.REDIS_URL:
        return MemoryBroker(Journal(Path(settings.CHAT_JOURNAL)) if settings.CHAT_JOURNAL else None)
    from chat.broker.redis import RedisBroker  # noqa: PLC0415 - only where there is a Redis

    return RedisBroker(settings.REDIS_URL)


_processes = OncePerLoop(make_process)


def get_process() -> Process:
    """Return what the process has for the running event loop; a server has one loop."""
    return _processes.get()


def get_runner() -> Runner:
    """Return the runner of the running event loop."""
    return get_process().runner
