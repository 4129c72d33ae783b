"""Pages of shared links: those that their readers see, and those by which owners make and revoke them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from functools import wraps
from typing import Any, NamedTuple
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from chat.accounts import link_guesses
from chat.accounts.addresses import find_client_address, find_network
from chat.accounts.visitors import Visitor, find_session_user
from chat.conversations import shares
from chat.conversations.actions import get_owned_conversation
from chat.conversations.shares import ShareOptions
from chat.conversations.turn_ids import make_turn_id
from chat.core.errors import RefusedError
from chat.generation.process import get_process
from chat.http.errors import render_not_found
from chat.http.requests import HtmxRequest, read_turn_id
from chat.models import Conversation, Message, Role, Share, User
from chat.streaming import responses
from chat.streaming.shared_stream import make_shared_response, read_disclosure
from chat.tasks import run_in_thread
from chat.web.conversations import read_id
from chat.web.listed_conversations import show_open
from chat.web.time_zones import find_zone

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]

# What keeps a shared page out of search engines, and its address out of the logs of the sites that it links to.
HEADERS = {"X-Robots-Tag": "noindex, nofollow, noarchive", "Referrer-Policy": "no-referrer"}


@login_not_required
@require_safe
def show_robots(request: HttpRequest) -> HttpResponse:
    """Tell robots that nothing here is for them."""
    return HttpResponse("User-agent: *\nDisallow: /s/\nDisallow: /\n", content_type="text/plain; charset=utf-8")


# What readers see


def serve_readers(view: View) -> View:
    """Make a view of what a link leads to: find the link and its reader, refuse guesses, and set the headers.

    What was revoked, has expired or never was is one 404. A reader who has to log in first is sent to do that.
    """

    @login_not_required
    @wraps(view)
    async def wrapped(request: HtmxRequest, secret: str, **kwargs: Any) -> HttpResponseBase:
        response = await _answer(request, secret, kwargs)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    async def _answer(request: HtmxRequest, secret: str, kwargs: dict[str, Any]) -> HttpResponseBase:
        user = await find_session_user(request)
        reader = user if isinstance(user, User) else None
        name = f"user-{reader.pk}" if reader else find_network(find_client_address(request.META))
        if link_guesses.is_braked(name):
            return await run_in_thread(_refuse_guess, request)
        try:
            share = await run_in_thread(shares.find_shared, secret, reader)
            return await view(request, share, reader, secret=secret, **kwargs)
        except shares.LoginNeededError:
            return redirect_to_login(reverse("shared", args=(secret,)))
        except Http404 as error:
            link_guesses.note_miss(name)
            return await run_in_thread(render_not_found, request, error)

    return wrapped


def _refuse_guess(request: HttpRequest) -> HttpResponse:
    context = {"sentence": "Too many links that lead nowhere. Try again in a minute."}
    response = render(request, "refused.html", context, status=429)
    response.headers["Retry-After"] = str(link_guesses.WINDOW)
    return response


class SharedTurn(NamedTuple):
    """A question with the answer that is shown for it."""

    question: Message
    answer: Message | None


@require_safe
@serve_readers
async def show_shared(request: HtmxRequest, share: Share, reader: User | None, secret: str) -> HttpResponseBase:
    """Show what a link leads to. `?state=` is what the page shows already: 204 where nothing has changed."""
    return await run_in_thread(_render_shared, request, share, reader, secret)


def _render_shared(request: HtmxRequest, share: Share, reader: User | None, secret: str) -> HttpResponse:
    branch = shares.load_shared_branch(share)
    state = f"{branch[-1].pk}.{branch[-1].fence}" if branch else ""
    if request.GET.get("state") == state:
        return HttpResponse(status=204)
    answers = {message.parent_id: message for message in branch if message.role == Role.ASSISTANT}
    context = {
        "share": share,
        "secret": secret,
        "conversation": share.conversation,
        "turns": [SharedTurn(each, answers.get(each.pk)) for each in branch if each.role == Role.USER],
        "disclosure": read_disclosure(share),
        "state": state,
        "reader": reader,
        "turn_id": make_turn_id(),
    }
    return render(request, "shared/page.html", context)


@require_safe
@serve_readers
async def stream_shared(
    request: HtmxRequest, share: Share, reader: User | None, secret: str, answer_id: UUID
) -> HttpResponseBase:
    """Stream the changes that keep a shared page up to date with an answer on it. Raises Http404 for any other."""
    branch = await run_in_thread(shares.load_shared_branch, share)
    answer = next((message for message in branch if message.role == Role.ASSISTANT and message.pk == answer_id), None)
    if answer is None:
        raise Http404
    try:
        after = responses.read_position(request) or 0
    except ValueError:
        raise Http404 from None
    is_open = share.audience == Share.Audience.LINK and settings.CHAT_SHARING == "link"
    visitor = None if is_open or reader is None else Visitor.from_request(request, reader)
    return make_shared_response(get_process(), visitor, share, answer, after)


@require_POST
@serve_readers
async def copy_shared(request: HtmxRequest, share: Share, reader: User | None, secret: str) -> HttpResponseBase:
    """Go on with what a link shows in a copy of the reader's own, and show that."""
    if reader is None:
        raise shares.LoginNeededError
    return redirect(await run_in_thread(shares.copy_shared, reader, share, read_turn_id(request)))


# What owners see

ENDS = {"": None, "1": timedelta(days=1), "7": timedelta(days=7), "30": timedelta(days=30), "90": timedelta(days=90)}


class ShareForm(forms.Form):
    """A link as its owner wants it."""

    audience = forms.ChoiceField(label="May be read by", widget=forms.RadioSelect, required=False)
    ends = forms.ChoiceField(
        label="Ends",
        required=False,
        choices=[
            ("", "When I revoke it"),
            ("1", "In a day"),
            ("7", "In a week"),
            ("30", "In 30 days"),
            ("90", "In 90 days"),
        ],
    )
    goes_on = forms.BooleanField(required=False, label="Show later turns too, as the conversation goes on")
    reasoning = forms.BooleanField(required=False, label="Show what the models thought")
    tools = forms.BooleanField(required=False, label="Show the calls of tools")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the audiences that the operator allows."""
        allowed = shares.list_audiences()
        super().__init__(*args, **kwargs)
        field = self.fields["audience"]
        field.initial = next(iter(allowed), "")
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - as it is declared above
        field.choices = [(name, Share.Audience(name).label) for name in allowed]
        if len(allowed) < 2:
            field.widget = forms.HiddenInput()

    def to_options(self) -> ShareOptions:
        """Return the link that a valid form describes."""
        fields = self.cleaned_data
        lasts = ENDS[fields["ends"]]
        return ShareOptions(
            fields["audience"] or Share.Audience.TEAM,
            goes_on=fields["goes_on"],
            reasoning=fields["reasoning"],
            tools=fields["tools"],
            expires_at=timezone.now() + lasts if lasts else None,
        )


class ListedShare(NamedTuple):
    """A link in its owner's list, with its address; that is empty where it cannot be shown any more."""

    share: Share
    address: str


def _list_with_addresses(request: HttpRequest, found: Iterable[Share]) -> list[ListedShare]:
    return [ListedShare(share, make_address(request, share)) for share in found]


def make_address(request: HttpRequest, share: Share) -> str:
    """Return the whole address of a link; "" where its secret cannot be made any more."""
    secret = shares.find_secret(share)
    return request.build_absolute_uri(reverse("shared", args=(secret,))) if secret else ""


@require_http_methods(["GET", "HEAD", "POST"])
def edit_shares(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Show the links of a conversation with the form for another one, or make that; in a dialog for htmx.

    `?made=` is a link that was made a moment ago: the page says so.
    """
    conversation = get_owned_conversation(request.user, conversation_id)
    if request.method == "POST":
        return _make_share(request, conversation)
    if settings.CHAT_SHARING == "off" and not Share.objects.filter(conversation=conversation).exists():
        raise Http404
    made = read_id(request.GET.get("made", ""))
    return _render_shares(request, conversation, ShareForm(), made=made)


def _make_share(request: HtmxRequest, conversation: Conversation) -> HttpResponse:
    """Make the link that a form describes, and show it; without htmx on a page whose reload makes no second one."""
    form = ShareForm(request.POST)
    if not form.is_valid():
        return _render_shares(request, conversation, form, status=422)
    try:
        made = shares.create_share(request.user, conversation.pk, form.to_options())
    except RefusedError as error:
        form.add_error(None, error.sentence)
        return _render_shares(request, conversation, form, status=error.status)
    if request.htmx:
        return _render_shares(request, conversation, ShareForm(), made=made.pk)
    return redirect(f"{reverse('conversation-shares', args=(conversation.pk,))}?made={made.pk}")


def _render_shares(
    request: HtmxRequest,
    conversation: Conversation,
    form: ShareForm,
    *,
    made: UUID | None = None,
    status: int = 200,
) -> HttpResponse:
    found = _list_with_addresses(request, shares.list_shares(request.user, conversation.pk))
    context = {
        "conversation": conversation,
        "form": form,
        "open_shares": [each for each in found if each.share.state == "open"],
        "is_made": any(each.share.pk == made and each.share.state == "open" for each in found),
        "is_allowed": settings.CHAT_SHARING != "off",
    }
    # htmx swaps what is refused too where it is a page of its own form.
    return render(request, "shared/_edit.html" if request.htmx else "shared/edit.html", context, status=status)


@require_safe
def list_shares(request: HtmxRequest) -> HttpResponse:
    """Show all links of the user's, those that lead nowhere any more too."""
    context = {
        "listed": _list_with_addresses(request, shares.list_shares(request.user)),
        "conversations": show_open(request.user, find_zone(request)),
        "is_allowed": settings.CHAT_SHARING != "off",
    }
    return render(request, "account/shares.html", context)


@require_POST
def revoke_share(request: HtmxRequest, share_id: UUID) -> HttpResponse:
    """Make a link lead nowhere, and show those that are left: of its conversation in a dialog, otherwise all."""
    share = shares.revoke_share(request.user, share_id)
    if request.htmx:
        return _render_shares(request, share.conversation, ShareForm())
    return redirect("own-shares")
