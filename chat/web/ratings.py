"""Views and the form of a reader's rating of an answer."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from chat.conversations.actions import get_owned_answer
from chat.conversations.forms import TextField
from chat.conversations.ratings import Opinion, rate_answer, remove_rating
from chat.core.errors import RefusedError
from chat.http.errors import show_refusal
from chat.http.requests import HtmxRequest
from chat.models import Message, Rating
from chat.streaming import own_turn


class RatingForm(forms.ModelForm[Rating]):
    """A reader's rating of an answer, with a comment and whether the staff may read it."""

    value = forms.ChoiceField(
        label="This answer is",
        choices=[(Rating.Value.UP.value, "Good"), (Rating.Value.DOWN.value, "Bad")],
        widget=forms.RadioSelect,
        error_messages={"required": "Say whether the answer is good or bad."},
    )

    class Meta:
        model = Rating
        fields = ("value", "comment", "may_be_read")
        field_classes: ClassVar[dict[str, Any]] = {"comment": TextField}
        labels: ClassVar[dict[str, str]] = {
            "comment": "Comment (optional)",
            "may_be_read": "The staff of this site may read my comment, my question and this answer",
        }
        help_texts: ClassVar[dict[str, str]] = {"may_be_read": "Without this they see only that you rated it."}
        widgets: ClassVar[dict[str, Any]] = {
            "comment": forms.Textarea(attrs={"rows": 3, "dir": "auto", "autofocus": True})
        }

    def to_opinion(self) -> Opinion:
        """Return the rating of a valid form."""
        cleaned = self.cleaned_data
        return Opinion(cleaned["value"], cleaned["comment"], cleaned["may_be_read"])


@require_POST
def rate(request: HtmxRequest, answer_id: UUID) -> HttpResponse:
    """Rate an answer up or down, or remove its rating, and return its foot. The comment stays as it was."""
    value = request.POST.get("rating", "")
    try:
        if value:
            rate_answer(request.user, answer_id, Opinion(value))
        else:
            remove_rating(request.user, answer_id)
    except RefusedError as error:
        return show_refusal(request, error, lambda: get_owned_answer(request.user, answer_id).conversation)
    return render_foot(request, get_owned_answer(request.user, answer_id))


@require_http_methods(["GET", "HEAD", "POST"])
def comment_on_answer(request: HtmxRequest, answer_id: UUID) -> HttpResponse:
    """Show or keep a rating with its comment: under the answer for htmx, on a page of its own otherwise."""
    answer = get_owned_answer(request.user, answer_id)
    rating = Rating.objects.filter(answer=answer, user=request.user).first()
    form, status = RatingForm(request.POST if request.method == "POST" else None, instance=rating), 200
    if form.is_valid():
        try:
            rate_answer(request.user, answer_id, form.to_opinion())
            return render_foot(request, answer)
        except RefusedError as error:
            form.add_error(None, error.sentence)
            status = error.status
    elif form.is_bound:
        status = 422
    context = {"form": form, "answer": answer, "conversation": answer.conversation}
    name = "chat/_rating_form.html" if request.htmx else "chat/rating.html"
    return render(request, name, context, status=status)


def render_foot(request: HtmxRequest, answer: Message) -> HttpResponse:
    """Return the foot of an answer, or its page where there is no htmx."""
    if not request.htmx:
        return redirect(f"{answer.conversation.get_absolute_url()}#answer-{answer.pk}")
    headers = {"HX-Retarget": f"#foot-{answer.pk}", "HX-Reswap": "outerHTML"}
    return HttpResponse(own_turn.render_foot(answer), headers=headers)
