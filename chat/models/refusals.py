"""Parameters that models have refused, and how they are asked since."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from chat.providers.adaptation_remarks import describe_adaptation
from chat.providers.base import Adaptation


class Refusal(models.Model):
    """A parameter that a model did not take, where another way of asking was answered.

    `chat.conversations.refusals` writes and reads them.
    """

    model = models.CharField(max_length=200, help_text="provider:model.")
    server = models.CharField(max_length=16, blank=True, help_text="A digest of the server's address.")
    kind = models.CharField(max_length=30, help_text="Of `chat.providers.base.AdaptationKind`.")
    value = models.FloatField(null=True, blank=True, help_text="The figure that the provider named.")
    name = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="Of the tool that it is about."
    )
    detail = models.CharField(max_length=300, blank=True, help_text="The provider's words, without what is secret.")
    learnt_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("model", "kind", "name")
        constraints = (
            models.UniqueConstraint(fields=("model", "server", "kind", "name"), name="a_model_refuses_each_thing_once"),
        )

    def __str__(self) -> str:
        return f"{self.model}: {self.kind}"

    @property
    def adaptation(self) -> Adaptation:
        return Adaptation(self.kind, self.value, self.name)  # type: ignore[arg-type]  # `chat.conversations.refusals` writes these kinds

    @property
    def description(self) -> str:
        """The adaptation in a few words."""
        return describe_adaptation(self.adaptation)
