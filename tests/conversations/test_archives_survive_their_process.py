"""A job outlives its process: another one takes it up where it was, alone, and keeps nothing twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from chat.conversations.exchange import files, job_run, jobs
from chat.conversations.exchange.job_run import LostJobError, run_job
from chat.conversations.exchange.jobs import MAX_TRIES, begin_job, claim_next, clean_up, delete_job
from chat.conversations.exchange.worker import get_exchange_worker
from chat.models import Conversation, ExchangeJob, Message, User
from tests.support.archives import pack, say, unpack, wait_for_job
from tests.support.site import Site

GONE = "elsewhere:1:abcd"


def make_conversations(number: int) -> bytes:
    """Return ChatGPT's archive of so many conversations; the third of them cannot be read."""
    whole = [
        {
            "title": f"Title {n}",
            "conversation_id": f"c{n}",
            "create_time": 1_700_000_000 + n,
            "mapping": {"q": say("q", None, "user", f"Q{n}"), "a": say("a", "q", "assistant", f"A{n}")},
        }
        for n in range(number)
    ]
    return pack({"conversations.json": [*whole[:2], {"mapping": {"q": 1}, "title": "Broken"}, *whole[2:]]})


def begin_import(user: User, content: bytes) -> ExchangeJob:
    draft = files.find_draft_path(uuid4())
    draft.write_bytes(content)
    return begin_job(user, ExchangeJob.Kind.IMPORT, uuid4(), "a.zip", draft)


def return_false() -> bool:
    return False


def make_check(calls: int) -> Callable[[], bool]:
    """Return what says that a job is over from the so manieth look on."""
    looks = count()
    return lambda: next(looks) >= calls


def claim() -> ExchangeJob:
    job = claim_next()
    assert job is not None
    return job


def test_an_import_goes_on_where_a_lost_process_has_come_to(user: User) -> None:
    job = begin_import(user, make_conversations(6))
    done, rounds = -1, 0
    while not job.is_finished:
        rounds += 1
        claimed = claim()
        try:
            run_job(claimed, make_check(max(done, 0) + 4))
        except LostJobError:
            ExchangeJob.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1), owner=GONE)
        job.refresh_from_db()
        assert job.done > done or job.is_finished
        done = job.done
    assert rounds > 2
    assert sorted(Conversation.objects.values_list("title", flat=True)) == [f"Title {n}" for n in range(6)]
    assert Message.objects.count() == 12
    assert (job.error, job.total, job.done) == ("", 7, 7)
    assert (job.report["brought"], job.report["already_here"], job.report["unreadable"]) == (6, 0, 1)
    assert job.report["notes"] == [["Broken", "Left out as a whole. `mapping` must be an object."]]
    assert not files.find_path(job.pk).exists()


def test_a_process_that_has_lost_a_job_keeps_nothing_of_it(user: User) -> None:
    begin_import(user, make_conversations(3))
    claimed = claim()
    ExchangeJob.objects.update(owner=GONE)
    with pytest.raises(LostJobError):
        run_job(claimed, return_false)
    ExchangeJob.objects.update(owner=claimed.owner, total=4)
    claimed.total = 4

    def take_over() -> bool:
        ExchangeJob.objects.update(owner=GONE)
        return False

    with pytest.raises(LostJobError):
        run_job(claimed, take_over)
    assert not Conversation.objects.exists()


def test_a_job_has_one_process(user: User) -> None:
    begin_import(user, make_conversations(1))
    first = claim()
    assert claim_next() is None
    ExchangeJob.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    second = claim()
    assert (second.pk, second.tries) == (first.pk, 2)


def test_a_job_that_ends_every_process_is_given_up(user: User) -> None:
    job = begin_import(user, make_conversations(1))
    for _ in range(MAX_TRIES):
        assert claim_next() is not None
        ExchangeJob.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert claim_next() is None
    job.refresh_from_db()
    assert (job.is_finished, job.error) == (True, jobs.GIVEN_UP)


def test_an_archive_that_a_lost_process_has_begun_is_written_again(user: User) -> None:
    for number in range(5):
        Conversation.objects.create(user=user, title=f"T{number}")
    job = begin_job(user, ExchangeJob.Kind.EXPORT, uuid4())
    with pytest.raises(LostJobError):
        run_job(claim(), make_check(2))
    assert not files.find_path(job.pk).exists()
    assert not list(files.find_directory().glob(f"{job.pk}*"))
    jobs.leave_job(job.pk)
    run_job(claim(), return_false)
    job.refresh_from_db()
    assert (job.done, job.total, job.is_finished) == (5, 5, True)
    assert len(unpack(files.find_path(job.pk).read_bytes())) == 11


def test_a_deleted_job_stops_and_leaves_no_file(user: User) -> None:
    job = begin_import(user, make_conversations(3))
    claimed = claim()
    looks = count()

    def delete() -> bool:
        if next(looks) == 4:
            assert delete_job(user, job.pk)
        return False

    with pytest.raises((LostJobError, FileNotFoundError)):
        run_job(claimed, delete)
    assert not files.find_path(job.pk).exists()
    assert Conversation.objects.count() < 3


def test_a_file_that_is_nobodys_is_deleted(user: User) -> None:
    old, new = (files.find_draft_path(uuid4()) for _ in range(2))
    kept = begin_import(user, make_conversations(1))
    for path in (old, new):
        path.write_bytes(b"x")
    for path in (old, files.find_path(kept.pk)):
        os.utime(path, (1, 1))
    clean_up()
    assert (old.exists(), new.exists(), files.find_path(kept.pk).exists()) == (False, True, True)
    new.unlink()


def test_a_file_that_is_gone_is_said_to_be(user: User) -> None:
    job = begin_import(user, make_conversations(1))
    files.find_path(job.pk).unlink()
    run_job(claim(), return_false)
    job.refresh_from_db()
    assert "not on this machine" in job.error


async def test_the_sweep_takes_up_what_a_lost_process_has_left(site: Site) -> None:
    job = await sync_to_async(begin_import)(site.user, make_conversations(2))
    await ExchangeJob.objects.aupdate(owner=GONE, lease_until=timezone.now() + timedelta(minutes=1))
    await get_exchange_worker().sweep()
    await job.arefresh_from_db()
    assert job.owner == GONE
    await ExchangeJob.objects.aupdate(lease_until=timezone.now() - timedelta(seconds=1))
    await get_exchange_worker().sweep()
    assert (await wait_for_job(job)).report["brought"] == 2


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(OSError(28, "No space left on device"), "could not write its file"), (ValueError("x"), "could not finish this")],
)
async def test_a_job_that_fails_says_so_and_tells_its_user_nothing_of_the_machine(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(job_run, "load_conversation", fail)
    await Conversation.objects.acreate(user=site.user)
    job = await sync_to_async(begin_job)(site.user, ExchangeJob.Kind.EXPORT, uuid4())
    job = await wait_for_job(job)
    assert sentence in job.error
    assert "device" not in job.error
    assert not list(files.find_directory().glob(f"{job.pk}*"))
