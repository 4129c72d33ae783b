"""Models that are for some groups only."""

from __future__ import annotations

from django.db import models


class ModelAccess(models.Model):
    """A model that only some groups may use. One that has no row here is for everybody."""

    model = models.CharField(max_length=200, unique=True, help_text="provider:model, as in CHAT_MODELS.")
    groups = models.ManyToManyField("auth.Group", blank=True, related_name="model_access")

    class Meta:
        verbose_name_plural = "model access"

    def __str__(self) -> str:
        return self.model
