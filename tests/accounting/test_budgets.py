"""Budgets of the site, of groups and of users: what counts for them, what they refuse, and what they do instead."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.test import Client
from pytest_django import Settings

from chat.accounting.alerts import find_alerts
from chat.accounting.budgets import find_standings, make_terms, measure_budgets
from chat.accounting.quotas import BudgetError, admit
from chat.core.events import Usage
from chat.core.prices import Price
from chat.generation.store import CallResult, settle_call
from chat.generation.verdict import make_interruption
from chat.models import Alert, Budget, Message, Meter, ProviderCall, User
from tests.provider_server import ProviderServer, Script
from tests.support.questions import read_error, send
from tests.support.site import Site


@pytest.fixture
def team(user: User) -> Group:
    group = Group.objects.create(name="Team")
    user.groups.add(group)
    return group


def add_budget(name: str = "Research", scope: str = "site", **fields: Any) -> Budget:
    row = Budget(name=name, scope=scope, **fields)
    row.full_clean()
    row.save()
    return row


def begin(user: User | None, model: str = "openai:gpt-test", **fields: Any) -> ProviderCall:
    return admit(ProviderCall(user=user, model=model, input_tokens=100, **fields))


def use(user: User | None, tokens: int, model: str = "openai:gpt-test", **fields: Any) -> None:
    settle_call(CallResult(begin(user, model, **fields), Usage(tokens, 0), None, 1), make_interruption("timeout"))


def is_refused(user: User | None, model: str = "openai:gpt-test", **fields: Any) -> bool:
    try:
        begin(user, model, **fields)
    except BudgetError:
        return True
    return False


def test_the_members_of_a_group_share_its_budget(user: User, team: Group) -> None:
    grace, stranger = User.objects.create_user("grace"), User.objects.create_user("alan")
    grace.groups.add(team)
    add_budget(scope="group", group=team, tokens=10_000)
    use(user, 6_000)
    use(grace, 3_500)
    assert is_refused(user)
    assert is_refused(grace)
    assert not is_refused(stranger)


def test_the_budget_of_a_user_does_not_limit_other_users(user: User) -> None:
    add_budget(scope="user", user=user, tokens=5_000)
    use(user, 5_000)
    assert is_refused(user)
    assert not is_refused(User.objects.create_user("grace"))


def test_the_sites_budget_counts_calls_billed_to_the_site_too(user: User, team: Group) -> None:
    add_budget(tokens=5_000)
    mine = add_budget("Team", "group", group=team, tokens=100_000)
    use(user, 3_000, billed_to="site")
    use(None, 2_000, billed_to="site")
    assert is_refused(user)
    assert is_refused(None, billed_to="site")
    assert not Meter.objects.filter(key__startswith=f"budget/{mine.pk}/").exclude(used=0).exists()


@pytest.mark.parametrize(
    ("model", "counted"),
    [("", True), ("openai", True), ("openai:gpt-test", True), ("openai:gpt", False), ("anthropic", False)],
)
def test_a_budget_may_be_of_a_provider_or_a_model(user: User, model: str, *, counted: bool) -> None:
    add_budget(tokens=2_000, model=model)
    use(user, 2_000)
    assert is_refused(user) == counted
    assert not is_refused(user, "demo:tour") or not model


def test_a_budget_in_dollars_reserves_by_the_price_of_the_model(user: User, settings: Settings) -> None:
    settings.CHAT_PRICES = {"openai:gpt-test": Price(Decimal(10), Decimal(100), Decimal(10))}
    add_budget(cost=Decimal("0.20"))
    use(user, 15_000)
    with pytest.raises(
        BudgetError, match=r"\$0\.0500 is left of the budget Research \(\$0\.20 a month\), and this nee"
    ):
        begin(user)
    assert not is_refused(user, "demo:tour")  # which costs nothing


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_a_refusal_says_what_is_left_and_when_it_resets(user: User, period: str) -> None:
    add_budget(tokens=10_000, period=period)
    use(user, 9_500)
    with pytest.raises(BudgetError) as refusal:
        begin(user)
    sentence = refusal.value.sentence
    assert sentence.startswith(
        f"500 tokens is left of the budget Research (10,000 tokens a {period}), and this needs about 1,100 tokens. "
    )
    assert "You can continue" in sentence
    assert 0 < (refusal.value.retry_after or 0) <= 31 * 86_400
    use_rest = Meter.objects.get(key__startswith="budget")
    Meter.objects.update(used=use_rest.most)
    with pytest.raises(BudgetError, match=rf"^The budget Research \(10,000 tokens a {period}\) is used up\. You can"):
        begin(user)


def test_live_answers_reserve_their_part_of_the_budget(user: User) -> None:
    add_budget(tokens=2_000)
    begin(user)
    with pytest.raises(BudgetError, match=r"^Answers under way may take the rest of the budget Research") as refusal:
        begin(user)
    assert refusal.value.retry_after == 5


def test_a_soft_budget_refuses_nothing(user: User) -> None:
    add_budget(tokens=1_000, is_hard=False)
    use(user, 5_000)
    assert not is_refused(user)
    assert Meter.objects.get().used == 5_000


def test_usage_from_before_the_budget_counts(user: User, team: Group) -> None:
    use(user, 9_500)
    use(User.objects.create_user("grace"), 9_500)
    add_budget(scope="group", group=team, tokens=10_000)
    assert is_refused(user)


def test_a_call_that_began_before_the_budget_counts_when_it_ends(user: User) -> None:
    early = begin(user)
    add_budget(tokens=10_000)
    use(user, 100)
    settle_call(CallResult(early, Usage(9_400, 0), None, 1), make_interruption("timeout"))
    assert Meter.objects.get().used == 9_500
    assert is_refused(user)


def test_a_budget_that_is_switched_off_counts_nothing(user: User) -> None:
    add_budget(tokens=1, is_active=False)
    assert not is_refused(user)
    assert not Meter.objects.exists()


def test_every_budget_that_applies_must_have_room(user: User, team: Group) -> None:
    add_budget("Site", tokens=100_000)
    add_budget("Team", "group", group=team, tokens=2_000)
    add_budget("Ada", "user", user=user, tokens=100_000)
    begin(user)
    with pytest.raises(BudgetError, match="Team"):
        begin(user)
    assert {meter.held for meter in Meter.objects.all()} == {1_100}  # nothing is left of the second


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "site"},
        {"scope": "group", "tokens": 5},
        {"scope": "user", "tokens": 5},
        {"tokens": 0},
        {"cost": Decimal(-1)},
        {"tokens": 5, "is_hard": False, "fallback_model": "demo:tour"},
        {"tokens": 5, "model": "demo:tour", "fallback_model": "demo:tour"},
    ],
)
def test_a_budget_that_makes_no_sense_is_not_kept(db: None, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        add_budget(**fields)


# From a question


async def test_a_question_is_refused_before_it_costs_anything(site: Site, provider: ProviderServer) -> None:
    await sync_to_async(add_budget)(tokens=1_100)
    provider.script = Script(text="x", usage=Usage(1_000, 100))
    await site.ask()
    response = await send(site)
    status, code, sentence = read_error(response)
    assert (status, code) == (429, "quota_exceeded")
    assert sentence.startswith("The budget Research (1,100 tokens a month) is used up. You can continue")
    assert int(response.headers["Retry-After"]) > 0
    assert (len(provider.requests), await ProviderCall.objects.acount(), await Message.objects.acount()) == (1, 1, 2)


async def test_an_exhausted_budget_falls_back_to_the_model_that_it_names(site: Site, provider: ProviderServer) -> None:
    await sync_to_async(add_budget)(tokens=1_100, model="openai", fallback_model="anthropic:messages-test")
    provider.script = Script(text="x", usage=Usage(1_000, 100))
    await site.ask(model="openai:gpt-test")
    answer = await site.ask(model="openai:gpt-test")
    assert (answer["status"], answer["model"]) == ("complete", "anthropic:messages-test")
    said = "The budget Research has no room for openai:gpt-test, so anthropic:messages-test answers."
    assert said in str([event async for _, event in site.follow(answer["id"])])
    calls = [call.model async for call in ProviderCall.objects.order_by("pk")]
    assert calls == ["openai:gpt-test", "anthropic:messages-test"]
    response = await site.post(f"/api/answers/{answer['id']}/retry/", {"model": "openai:gpt-test"})
    retried = json.loads(response.content)["answer"]
    assert (await site.answer(retried))["model"] == "anthropic:messages-test"


async def test_a_budget_does_not_fall_back_to_a_model_that_the_user_may_not_use(site: Site, settings: Settings) -> None:
    settings.CHAT_MODELS = ["openai:gpt-test"]
    await sync_to_async(add_budget)(tokens=1_100, model="openai", fallback_model="anthropic:messages-test")
    await sync_to_async(use)(site.user, 1_100)
    assert (await send(site)).status_code == 429


# Where they are shown


def test_the_usage_page_and_the_api_show_budgets(user: User, team: Group, settings: Settings) -> None:
    add_budget("Team", "group", group=team, tokens=10_000)
    add_budget("Everybody", tokens=50_000)
    use(user, 2_500)
    [shown] = find_standings(user.pk)
    assert (shown.name, *map(int, (shown.most, shown.used, shown.left))) == ("Team", 10_000, 2_500, 7_500)
    client = Client()
    client.force_login(user)
    page = client.get("/account/usage/").content.decode()
    assert "Team: tokens this month" in page
    assert "Everybody" not in page
    usage = client.get("/api/usage/").json()
    assert [(row["name"], row["used"], row["limit"], row["shared"]) for row in usage["budgets"]] == [
        ("Team", 2_500, 10_000, True)
    ]


def test_an_admin_adds_a_budget(db: None, settings: Settings) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get("/admin/chat/budget/add/").content.decode()
    assert f'<option value="{settings.CHAT_MODELS[0]}">' in page
    fields = {"name": "All", "scope": "site", "period": "week", "cost": "20", "is_hard": "on", "is_active": "on"}
    assert client.post("/admin/chat/budget/add/", fields).status_code == 302
    assert Budget.objects.get().cost == 20
    assert "$0.00 (0 %), resets" in client.get("/admin/chat/budget/").content.decode()
    assert (
        "neither" in client.post("/admin/chat/budget/add/", {**fields, "name": "B", "scope": "group"}).content.decode()
    )


# Changes in the admin


class BudgetDesk:
    """The admin's form of one budget of the site, of 20,000 tokens a week."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._fields = {"name": "All", "scope": "site", "period": "week", "tokens": "20000", "is_hard": "on"}
        self._fields["is_active"] = "on"
        self._address = "/admin/chat/budget/add/"
        self.save()
        self._address = f"/admin/chat/budget/{Budget.objects.get().pk}/change/"

    def save(self, **changed: str) -> None:
        """Save the form with some fields changed."""
        self._fields |= changed
        assert self._client.post(self._address, self._fields).status_code == 302

    def read_used(self) -> dict[str, Decimal]:
        """Return what is used of each amount."""
        return {each.measure: each.used for each in measure_budgets([make_terms(Budget.objects.get())])}


@pytest.fixture
def budget_desk(db: None, client: Client) -> BudgetDesk:
    client.force_login(User.objects.create_superuser("root"))
    return BudgetDesk(client)


def test_usage_counts_that_was_made_while_the_budget_was_switched_off(user: User, budget_desk: BudgetDesk) -> None:
    use(user, 1_000)
    budget_desk.save(is_active="")
    use(user, 18_500)
    budget_desk.save(is_active="on")
    assert budget_desk.read_used() == {"tokens": 19_500}
    assert is_refused(user)


def test_a_budget_that_becomes_one_of_other_calls_counts_those(user: User, budget_desk: BudgetDesk) -> None:
    use(user, 1_000)
    use(user, 500, "demo:tour")
    begin(user, "demo:tour")
    budget_desk.save(model="demo")
    assert budget_desk.read_used() == {"tokens": 500}
    assert Meter.objects.get().held == 1_100  # the call under way


def test_an_amount_that_is_taken_off_and_given_again_counts_all(
    user: User, budget_desk: BudgetDesk, settings: Settings
) -> None:
    settings.CHAT_PRICES = {"openai:gpt-test": Price(Decimal(10), Decimal(100), Decimal(10))}
    use(user, 1_000)
    budget_desk.save(tokens="", cost="50")
    use(user, 5_000)
    budget_desk.save(tokens="20000")
    assert budget_desk.read_used() == {"tokens": 6_000, "cost": Decimal("0.06")}


def test_what_a_group_has_used_stays_when_its_budget_gets_another_amount(
    user: User, team: Group, budget_desk: BudgetDesk
) -> None:
    """Whoever has left the group has used it all the same."""
    budget_desk.save(scope="group", group=str(team.pk))
    use(user, 1_000)
    user.groups.remove(team)
    budget_desk.save(tokens="30000")
    assert budget_desk.read_used() == {"tokens": 1_000}
    assert Meter.objects.get().most == 30_000


def test_a_budget_that_was_raised_alerts_at_its_new_thresholds(
    user: User, team: Group, budget_desk: BudgetDesk
) -> None:
    budget_desk.save(scope="group", group=str(team.pk))
    use(user, 17_000)
    assert [alert.threshold for alert in find_alerts(user)] == [80, 50]
    budget_desk.save(tokens="30000")
    assert [alert.threshold for alert in find_alerts(user)] == [50]
    use(user, 13_000)
    assert [alert.threshold for alert in find_alerts(user)] == [100, 80, 50]
    assert Alert.objects.filter(threshold=80).count() == 2
    assert "30,000 tokens a week" in Alert.objects.filter(threshold=80).latest("pk").sentence


def test_a_budget_that_was_lowered_alerts_once(user: User, team: Group, budget_desk: BudgetDesk) -> None:
    budget_desk.save(scope="group", group=str(team.pk))
    use(user, 11_000)
    budget_desk.save(tokens="15000")
    use(user, 2_000)
    assert [alert.threshold for alert in find_alerts(user)] == [80, 50]
    assert Alert.objects.count() == 2
