"""What the database says of limits, access and prices counts for seconds, so that a question pays no query for it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from chat.accounting import ledger
from chat.accounting.policies import find_limits
from chat.accounting.quotas import admit
from chat.accounts.model_access import list_allowed_models
from chat.core.events import Usage
from chat.models import Budget, Limit, ModelAccess, ModelPrice, ProviderCall, User
from chatsite.settings import CACHES

MILLION = Usage(1_000_000, 0)


@pytest.fixture(autouse=True)
def site_cache(settings: Settings) -> Any:
    settings.CACHES = CACHES
    cache.clear()
    yield
    cache.clear()


def find_cost() -> Decimal | None:
    return ledger.find_call_price(ProviderCall(model="openai:house", started_at=timezone.now()), MILLION)


def test_a_price_is_read_once_until_the_cache_forgets_it(
    db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ModelPrice.objects.create(model="openai:house", since=date(2020, 1, 1), input=4, output=8)
    with django_assert_num_queries(1):
        assert [find_cost(), find_cost()] == [4, 4]
    ModelPrice.objects.update(input=5)
    assert find_cost() == 4
    cache.clear()
    assert find_cost() == 5


def test_limits_and_restricted_models_are_cached(db: None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    user = User.objects.create_user("ada")
    with django_assert_num_queries(1):
        list_allowed_models(user)
        list_allowed_models(user)
    with django_assert_num_queries(2):  # those of groups, and whether any user has an own one
        find_limits(user.pk)
        find_limits(user.pk)
    assert not Limit.objects.exists()
    assert not ModelAccess.objects.exists()


def test_a_budget_that_another_process_has_just_deleted_fails_no_call(db: None) -> None:
    user = User.objects.create_user("ada")
    budget = Budget.objects.create(name="Site", scope="site", tokens=10**6)
    admit(ProviderCall(user=user, model="openai:house", input_tokens=100))
    with connection.cursor() as cursor:  # no signal tells this process
        cursor.execute("DELETE FROM chat_meter")
        cursor.execute("DELETE FROM chat_budget WHERE id = %s", [budget.pk])
    admit(ProviderCall(user=user, model="openai:house", input_tokens=100))
    assert ProviderCall.objects.count() == 2


def test_the_cache_forgets_within_seconds() -> None:
    assert CACHES["default"]["TIMEOUT"] == 5
