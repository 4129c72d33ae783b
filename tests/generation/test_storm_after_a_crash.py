"""A crash with hundreds of live answers: two processes share them, one taker each, and no provider is stormed."""

from __future__ import annotations

from asgiref.sync import sync_to_async

from chat.generation.pacing import MAX_OPENINGS
from chat.generation.process import get_runner, make_process
from chat.models import Message, ProviderCall
from tests.provider_server import ProviderServer, Script
from tests.support.lost_answers import keep_lost_answer
from tests.support.site import Site
from tests.support.waiting import wait_until

ANSWERS = 200


async def test_two_processes_take_up_two_hundred_lost_answers_without_flooding_the_provider(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text=" and what was not.", gate_after=0)
    for _ in range(ANSWERS):
        await sync_to_async(keep_lost_answer)(site.user)
    runners = [get_runner(), make_process().runner]
    runners[1].prepare()
    most_waiting = 0

    async def is_over() -> bool:
        nonlocal most_waiting
        waiting = [request for request in provider.requests if request.is_paused and request.finished_at is None]
        most_waiting = max(most_waiting, len(waiting))
        if waiting:
            provider.release()
        for runner in runners:
            runner.supervisor.sweeper.sweep_soon()
        return not await Message.objects.live().aexists()

    await wait_until(is_over, 120)
    assert 0 < most_waiting <= len(runners) * MAX_OPENINGS
    assert await Message.objects.filter(status="complete", losses=1).acount() == ANSWERS
    assert len(provider.requests) == ANSWERS
    assert await ProviderCall.objects.filter(outcome="complete").acount() == ANSWERS
    assert await ProviderCall.objects.filter(outcome="interrupted").acount() == ANSWERS
    await runners[1].drain(0)
