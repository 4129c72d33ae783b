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

    They look here each time, so a test may exchange one. From `settle_by` on, which a drain sets, no database fault is
    waited out. `settling` lets two ends at a time go to the thread that they share with the checkpoints, one to be
    written and one to be next: 300 that waited there in a storm of questions kept every lease from being renewed.
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
        """Return what a model may call. Those that refuse tools are asked without by an adaptation."""
        return self.toolbox.list_schemas()
