"""Selections of the usage review that somebody has kept under a name."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class SavedSelection(models.Model):
    """The filters of a review, as the query of its address; a named period moves with the days."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_selections")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000, blank=True)

    class Meta:
        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=("owner", "name"), name="a_saved_selection_has_one_name"),)

    def __str__(self) -> str:
        return self.name
