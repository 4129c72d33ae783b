"""The search of the admin's lists of messages and conversations: by users' names, and by words for those who may read.

What was written is found through the index of the site's own search, so by words and how they begin. What more rows
have than a list has pages for is found by reading the texts, the latest first, and so also inside words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.text import smart_split, unescape_string_literal

from chat.accounts.user_names import find_few_users
from chat.admin.large_lists import MAX_COUNTED, LargeList
from chat.admin.redaction import Veiled, may_read
from chat.models import Conversation, Message
from chat.search.everywhere import Found, find_everywhere
from chat.search.queries import read_query

# Rows that are looked through first for what many have.
_FIRST_PART = 500


class Words(NamedTuple):
    """A word or a phrase of a search, and what has it."""

    plain: str
    users: list[int] | None
    """Those with it in their names; None where they are more than a few."""
    found: Found | None
    """The texts and titles with it; None where they have to be read."""
    are_many: bool
    """Whether more rows have it than a list has pages for."""


class FindsTexts(Veiled, LargeList):
    """A list that is searched by users' names and by what was written."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the rows that every word matches."""
        words = list(_look_words_up(search_term, is_reader=may_read(request)))
        # Other filters leave fewer rows, and so do other words.
        if len(words) == 1 and words[0].are_many and set(request.GET) <= {SEARCH_VAR, PAGE_VAR}:
            self.mark_long(request)
            shown = self.list_per_page * _read_page(request.GET.get(PAGE_VAR, ""))
            keys = _find_latest(queryset, str(self.date_hierarchy), self.match_words(words[0]), shown)
            return queryset.filter(pk__in=keys), False
        for each in words:
            queryset = queryset.filter(self.match_words(each))
        return queryset, False

    def match_words(self, words: Words) -> Q:
        """Return the condition that a row is of a user with these words in the name, or has them in its text."""
        raise NotImplementedError


def _read_page(text: str) -> int:
    """Return the number of a list's page, from 1; the list itself reports text that is no number."""
    try:
        return max(1, min(int(text), MAX_COUNTED))
    except ValueError:  # of more than 4,300 digits, too
        return 1


def _find_latest(rows: QuerySet[Any], time: str, condition: Q, most: int) -> list[Any]:
    """Return the keys of the latest rows with what many have.

    The rows are looked through in larger and larger parts: PostgreSQL takes whatever LIKE is asked for to be rare, and
    reads all of them for a page.
    """
    ordered = rows.order_by(f"-{time}", "-pk")
    found: list[Any] = []
    passed, part, before = 0, _FIRST_PART, Q()
    while len(found) < most:
        passed += part
        last = ordered.values_list(time, flat=True)[passed : passed + 1].first()
        within = before & Q(**{f"{time}__gte": last}) if last else before
        found += ordered.filter(within, condition).values_list("pk", flat=True)[: most - len(found)]
        if last is None:
            break
        part, before = part * 4, Q(**{f"{time}__lt": last})
    return found


def _look_words_up(term: str, *, is_reader: bool) -> Iterator[Words]:
    for piece in smart_split(term):
        is_phrase = len(piece) > 1 and piece[0] == piece[-1] and piece[0] in "\"'"
        plain = unescape_string_literal(piece) if is_phrase else piece
        found: Found | None = Found({}, set())
        has_words = read_query(plain) is not None
        if is_reader:
            found = find_everywhere(f'"{plain}"' if is_phrase else plain, MAX_COUNTED) if has_words else None
        yield Words(plain, find_few_users(plain), found, found is None and has_words)


def match_messages(words: Words) -> Q:
    """Return the condition on messages; keys are united, since of OR the databases read every message."""
    if words.users is not None and words.found is not None:
        named = Q(user__in=words.users) | Q(pk__in=words.found.titles)
        messages = Message.objects.order_by()
        of_conversations = messages.filter(conversation__in=Conversation.objects.order_by().filter(named).values("pk"))
        with_words = messages.filter(pk__in=list(words.found.messages))
        return Q(pk__in=of_conversations.values("pk").union(with_words.values("pk"), all=True))
    condition = _match_users(words, "conversation__user")
    if words.found is None:
        return condition | Q(text__icontains=words.plain) | Q(conversation__title__icontains=words.plain)
    return condition | Q(pk__in=list(words.found.messages)) | Q(conversation__in=words.found.titles)


def match_conversations(words: Words) -> Q:
    """Return the condition on conversations."""
    if words.found is None:
        text = Message.objects.filter(conversation=OuterRef("pk"), text__icontains=words.plain)
        return _match_users(words, "user") | Q(title__icontains=words.plain) | Q(Exists(text))
    found: set[UUID] = {*words.found.titles, *words.found.messages.values()}
    return _match_users(words, "user") | Q(pk__in=found)


def _match_users(words: Words, field: str) -> Q:
    if words.users is None:
        return Q(**{f"{field}__username__icontains": words.plain})
    return Q(**{f"{field}__in": words.users})
