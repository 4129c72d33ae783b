"""Models that are asked where another one is not available."""

from __future__ import annotations

from django.db import models


class ModelFallback(models.Model):
    """The chain of one model: what is asked, in this order, while it is not available.

    It takes the place of what `CHAT_FALLBACKS` says of the model; with an empty chain the model has no fallback.
    """

    model = models.CharField(max_length=200, unique=True, help_text="provider:model, as in CHAT_MODELS.")
    chain = models.JSONField(
        default=list, blank=True, help_text="provider:model, one a line, the first to be asked first. Empty: none."
    )

    class Meta:
        ordering = ("model",)

    def __str__(self) -> str:
        return f"{self.model} > {' > '.join(self.chain) or 'none'}"
