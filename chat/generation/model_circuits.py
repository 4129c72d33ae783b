"""Circuits of models: one that has failed again and again is not asked for a while, where another one can be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

# `MAX_FAILURES` failures within `WITHIN` seconds, without an answer between them, open the circuit of a model for
# `PAUSE` seconds. Then one question tries it; the others do without it until that one has its first word or fails.
MAX_FAILURES = 3
WITHIN = 30.0
PAUSE = 20.0


@dataclass(slots=True)
class _Circuit:
    failed_at: list[float] = field(default_factory=list)
    open_until: float = 0.0
    code: str = ""


class ModelCircuits:
    """The circuits of one process. Processes do not share them: each learns from its own three failures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}

    def note_failure(self, model: str, code: str) -> None:
        """Count a failure, with its code, of a model that was not available; the third in a row opens its circuit."""
        circuit, now = self._circuits.setdefault(model, _Circuit()), self._clock()
        circuit.failed_at = [*(moment for moment in circuit.failed_at if moment > now - WITHIN), now]
        circuit.code = code
        if len(circuit.failed_at) >= MAX_FAILURES or circuit.open_until:
            circuit.open_until = now + PAUSE

    def note_answer(self, model: str) -> None:
        """Close the circuit of a model that has begun to answer."""
        self._circuits.pop(model, None)

    def find_open(self, model: str) -> str:
        """Return the code of the last failure of a model that is to be left alone now; empty when it may be asked.

        When its pause is over one caller is let through, and the others wait for as long as another pause.
        """
        circuit, now = self._circuits.get(model), self._clock()
        if circuit is None or not circuit.open_until:
            return ""
        if now < circuit.open_until:
            return circuit.code
        circuit.open_until = now + PAUSE
        return ""
