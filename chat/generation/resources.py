"""Resources that the answers of one process share."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from chat.broker.base import Broker
from chat.generation.admission import SlotQueue
from chat.generation.model_circuits import ModelCircuits
from chat.generation.pacing import Openings, Pace
from chat.providers.base import ToolSchema
from chat.providers.registry import Pool
from chat.tools.toolbox import Toolbox


@dataclass(slots=True)
class Resources:
    """The things that each answer's run, the runner and the supervisor are handed.

    They look one up here whenever they need it, so a test may replace one. After `settle_by`, a `time.monotonic` that a
    drain sets, writes that meet a database fault are not retried. `settling` lets two ends of answers at a time into
    the thread that they share with the checkpoints, one being written and one next in line: 300 that waited there in a
    burst of questions kept every lease from being renewed.
    """

    broker: Broker
    pool: Pool
    toolbox: Toolbox
    slots: SlotQueue
    pace: Pace
    settle_by: float = math.inf
    settling: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    openings: Openings = field(default_factory=Openings)
    circuits: ModelCircuits = field(default_factory=ModelCircuits)

    def offer_tools(self, model: str) -> tuple[ToolSchema, ...]:
        """Return the tools that a model may call. A model that refuses tools is asked without them by an adaptation."""
        return self.toolbox.list_schemas()
