"""The log of a batch of retries: what happened to it, and who did it."""

from __future__ import annotations

import logging
from uuid import UUID

from chat.models import BatchLogEntry, User

log = logging.getLogger(__name__)


def note_in_log(batch: UUID, what: BatchLogEntry.What, by: User | None = None, detail: str = "") -> None:
    """Write a line into a batch's log and into the site's; call it in the transaction of what it tells of."""
    name = by.get_username() if by else ""
    BatchLogEntry.objects.create(batch_id=batch, what=what, by=by, by_name=name, detail=detail[:200])
    log.info("batch %s: %s by user %s %s", batch, what.value, by.pk if by else "none", detail)
