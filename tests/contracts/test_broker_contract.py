"""What every broker holds to: each reader gets the whole line from where it is, and then the end, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import pytest

from chat.broker.base import LONGEST_BATCH, Broker, Following, NotLiveError
from chat.broker.memory import MemoryBroker
from chat.broker.redis import RedisBroker
from chat.core.events import Done, Event, Notice, Reasoning, Token, Usage
from chat.core.transcript import Transcript
from tests.browser.relay import start_relay
from tests.support.services import Redis
from tests.support.waiting import wait_until

ANSWER = "answer-1"
USAGE = Usage(3, 5)
DONE = Done("complete", "stop")
NOTICE = Notice("stalled", "The model has been silent for 5 seconds.")

# Long enough for any machine; a test that waits this long has failed.
PATIENCE = 10.0


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as redis:
        yield redis


@pytest.fixture(params=["memory", "redis, in the owner's process", "redis, in another process"])
async def brokers(request: pytest.FixtureRequest, redis: Redis) -> AsyncIterator[tuple[Broker, Broker]]:
    """The broker of the answer's owner, and that of its readers."""
    prefix = f"{request.node.nodeid}:"
    owners: Broker = MemoryBroker() if request.param == "memory" else RedisBroker(redis.url, prefix)
    readers: Broker = RedisBroker(redis.url, prefix) if "another" in request.param else owners
    yield owners, readers
    await owners.aclose()
    await readers.aclose()


@pytest.fixture
async def later_broker(
    request: pytest.FixtureRequest, redis: Redis, brokers: tuple[Broker, Broker]
) -> AsyncIterator[Broker]:
    """The broker of an owner that takes the first one's place: in its process, or in one more."""
    if brokers[0] is brokers[1]:
        yield brokers[0]
    else:
        broker = RedisBroker(redis.url, f"{request.node.nodeid}:")
        yield broker
        await broker.aclose()


@pytest.fixture
def broker(brokers: tuple[Broker, Broker]) -> Broker:
    """What readers read from."""
    return brokers[1]


class Owner:
    """Writes one answer as the runner does, from the text that the owner before it has left."""

    def __init__(self, broker: Broker, fence: int = 1, said: str = "") -> None:
        self.broker = broker
        self.fence = fence
        self.transcript = Transcript()
        self.transcript.append([Token(said)])

    async def open(self) -> None:
        await self.broker.open(ANSWER, self.fence, self.transcript)

    async def say(self, text: str) -> None:
        self.transcript.append([Token(text)])
        await self.broker.publish(ANSWER, self.fence)

    async def notify(self, notice: Notice) -> None:
        await self.broker.notify(ANSWER, self.fence, notice)

    async def end(self) -> None:
        await self.broker.close(ANSWER, self.fence, USAGE, DONE)

    async def give_up(self) -> None:
        await self.broker.give_up(ANSWER, self.fence)


@pytest.fixture
async def owner(brokers: tuple[Broker, Broker]) -> Owner:
    owner = Owner(brokers[0])
    await owner.open()
    await wait_until(lambda: is_live(brokers[1]))
    return owner


async def is_live(broker: Broker, answer: str = ANSWER) -> bool:
    try:
        async with broker.follow(answer, 0):
            return True
    except NotLiveError:
        return False


async def read_until_text(following: Following, text: str) -> list[Event]:
    """Return the events until so much text has come; fail when there are no more before that."""
    events: list[Event] = []
    while join_text(events) != text:
        batch = await following.read_next(PATIENCE)
        assert batch is not None
        assert batch.events, f"{join_text(events)!r} and no more"
        events += batch.events
    return events


async def read_rest(following: Following) -> list[Event]:
    """Return all events that still come, to the end."""
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        while (batch := await following.read_next(PATIENCE)) is not None:
            events += batch.events
    return events


def join_text(events: Sequence[Event]) -> str:
    return "".join(event.content for event in events if isinstance(event, Token))


async def test_an_answer_that_nobody_opened_is_not_live(broker: Broker) -> None:
    with pytest.raises(NotLiveError):
        async with broker.follow(ANSWER, 0):
            pass


async def test_a_broker_that_answers_is_up(broker: Broker) -> None:
    assert await broker.is_up()


async def test_a_reader_gets_what_was_said_before_it_came(broker: Broker, owner: Owner) -> None:
    await owner.say("Hello ")
    await owner.say("there")
    async with broker.follow(ANSWER, 0) as following:
        await read_until_text(following, "Hello there")


@pytest.mark.parametrize("cut", range(7))
async def test_a_reader_goes_on_from_its_position(broker: Broker, owner: Owner, cut: int) -> None:
    await owner.say("abc")
    async with broker.follow(ANSWER, cut) as following:
        await owner.say("def")
        await owner.end()
        assert join_text(await read_rest(following)) == "abcdef"[cut:]


async def test_a_waiting_reader_is_woken_by_the_first_word(broker: Broker, owner: Owner) -> None:
    async with broker.follow(ANSWER, 0) as following:
        waiting = asyncio.ensure_future(following.read_next(PATIENCE))
        await asyncio.sleep(0)
        await owner.say("word")
        batch = await asyncio.wait_for(waiting, PATIENCE)
        assert batch is not None
        assert list(batch.events) == [Token("word")]


async def test_silence_gives_an_empty_batch_and_the_next_word_is_not_lost(broker: Broker, owner: Owner) -> None:
    async with broker.follow(ANSWER, 0) as following:
        batch = await following.read_next(0.01)
        assert batch is not None
        assert not batch.events
        await owner.say("late")
        await read_until_text(following, "late")


async def test_the_end_comes_once_and_last(broker: Broker, owner: Owner) -> None:
    async with broker.follow(ANSWER, 0) as following:
        await owner.say("all")
        await read_until_text(following, "all")
        await owner.end()
        assert await read_rest(following) == [USAGE, DONE]
        assert await following.read_next(PATIENCE) is None


async def test_a_reader_that_was_told_the_usage_gets_the_end_alone(broker: Broker, owner: Owner) -> None:
    await owner.say("all")
    async with broker.follow(ANSWER, len("all") + 1) as following:
        await owner.end()
        assert await read_rest(following) == [DONE]


async def test_an_ended_answer_is_not_live(broker: Broker, owner: Owner) -> None:
    await owner.end()
    with pytest.raises(NotLiveError):
        async with broker.follow(ANSWER, 0):
            pass


async def test_a_notice_reaches_readers_once_without_a_position(broker: Broker, owner: Owner) -> None:
    async with broker.follow(ANSWER, 0) as following:
        await owner.notify(NOTICE)
        batch = await following.read_next(PATIENCE)
        assert batch is not None
        assert list(batch.events) == [NOTICE]
        await owner.say("again")
        await owner.end()
        assert await read_rest(following) == [Token("again"), USAGE, DONE]


async def test_a_reader_who_comes_during_silence_is_told_of_it(broker: Broker, owner: Owner) -> None:
    await owner.notify(NOTICE)
    async with broker.follow(ANSWER, 0) as following:
        batch = await following.read_next(PATIENCE)
        assert batch is not None
        assert list(batch.events) == [NOTICE]


async def test_fifty_readers_at_different_places_all_get_the_whole(broker: Broker, owner: Owner) -> None:
    async def read(after: int) -> str:
        async with broker.follow(ANSWER, after) as following:
            return join_text(await read_rest(following))

    await owner.say("0123456789" * 5)
    readers = [asyncio.ensure_future(read(after)) for after in range(50)]
    for word in ("one ", "two ", "three"):
        await asyncio.sleep(0)
        await owner.say(word)
    await owner.end()
    whole = owner.transcript.text
    assert await asyncio.gather(*readers) == [whole[after:] for after in range(50)]


async def test_a_long_answer_comes_in_pieces(broker: Broker, owner: Owner) -> None:
    """So that a reader who does not read keeps a piece waiting and not a second copy of the text."""
    text = "0123456789" * 20_000
    await owner.say(text)
    async with broker.follow(ANSWER, 3) as following:
        seen = ""
        while len(seen) < len(text) - 3:
            batch = await following.read_next(PATIENCE)
            assert batch is not None
            assert 0 < len(join_text(batch.events)) <= LONGEST_BATCH
            seen += join_text(batch.events)
        assert seen == text[3:]


async def test_reasoning_and_text_keep_their_order(broker: Broker, owner: Owner) -> None:
    said: list[Event] = [Reasoning("Let me see. "), Token("Yes. "), Reasoning("Or no?"), Token("No.")]
    owner.transcript.append(said)
    await owner.broker.publish(ANSWER, owner.fence)
    async with broker.follow(ANSWER, 0) as following:
        await owner.end()
        assert await read_rest(following) == [*said, USAGE, DONE]


async def test_the_readers_of_an_answer_that_is_given_up_are_sent_to_the_database(broker: Broker, owner: Owner) -> None:
    await owner.say("One ")
    async with broker.follow(ANSWER, 0) as following:
        await read_until_text(following, "One ")
        await owner.give_up()
        await broker.forget(ANSWER)  # as the reaper's notice makes every process do
        with pytest.raises(NotLiveError):
            await following.read_next(PATIENCE)


LATE = "late, and longer than all that the later owner says"


async def say_late(owner: Owner) -> None:
    await owner.say(LATE)


async def notify_late(owner: Owner) -> None:
    owner.transcript.append([Token(LATE)])
    await owner.notify(NOTICE)


async def end_late(owner: Owner) -> None:
    owner.transcript.append([Token(LATE)])
    await owner.end()


async def give_up_late(owner: Owner) -> None:
    await owner.give_up()


async def open_late(owner: Owner) -> None:
    await owner.open()
    await owner.say(LATE)


async def write_all(owner: Owner, readers: Broker) -> None:
    """Wait until readers can see all that an owner has published: they see what it publishes after that."""
    await owner.broker.open("answer-2", 1, Transcript())
    await wait_until(lambda: is_live(readers, "answer-2"))


async def go_on(later: Owner, readers: Broker) -> None:
    """Have a later owner open the log and go on with "two ", and return when readers see that."""

    async def is_shown() -> bool:
        try:
            async with readers.follow(ANSWER, 4) as following:
                batch = await following.read_next(0.1)
                return batch is not None and list(batch.events) == [Token("two ")]
        except NotLiveError:
            return False

    await later.open()
    await later.say("two ")
    await wait_until(is_shown)


@pytest.mark.parametrize("publish_late", [say_late, notify_late, end_late, give_up_late, open_late])
async def test_nothing_of_an_earlier_owner_reaches_the_readers_of_a_later_one(
    publish_late: Callable[[Owner], Awaitable[None]], broker: Broker, owner: Owner, later_broker: Broker
) -> None:
    await owner.say("One ")
    later = Owner(later_broker, 2, said="One ")
    await go_on(later, broker)
    async with broker.follow(ANSWER, 4) as following:
        await read_until_text(following, "two ")
        await publish_late(owner)
        await write_all(owner, broker)
        await later.say("three")
        await later.end()
        assert await read_rest(following) == [Token("three"), USAGE, DONE]


async def test_an_end_does_not_wait_for_a_log_that_a_later_owner_has_opened(
    broker: Broker, owner: Owner, later_broker: Broker
) -> None:
    async with asyncio.timeout(PATIENCE):
        ending = asyncio.ensure_future(owner.end())
        await asyncio.sleep(0)
        await Owner(later_broker, 2).open()
        await ending


async def test_readers_of_an_earlier_log_in_the_later_owners_process_are_sent_to_the_database(
    brokers: tuple[Broker, Broker], owner: Owner
) -> None:
    await owner.say("One ")
    async with owner.broker.follow(ANSWER, 0) as following:
        await read_until_text(following, "One ")
        await Owner(owner.broker, 2, said="One ").open()
        with pytest.raises(NotLiveError):
            await following.read_next(PATIENCE)


async def test_a_reader_who_comes_for_a_later_owner_is_given_no_earlier_log(
    broker: Broker, owner: Owner, later_broker: Broker
) -> None:
    await owner.say("One ")
    later = Owner(later_broker, 2, said="One ")
    async with broker.follow(ANSWER, 0) as before:  # a reader who came before the later owner
        await read_until_text(before, "One ")
        with pytest.raises(NotLiveError):
            async with broker.follow(ANSWER, 4, later.fence):
                pass
        await go_on(later, broker)
        async with broker.follow(ANSWER, 4, later.fence) as following:
            await read_until_text(following, "two ")
            with pytest.raises(NotLiveError):  # the whole answer is in the database
                await read_rest(before)
            await owner.end()
            await write_all(owner, broker)
            await later.say("three")
            await later.end()
            assert await read_rest(following) == [Token("three"), USAGE, DONE]


async def test_a_reader_who_knows_an_earlier_owner_is_given_the_later_log(
    broker: Broker, owner: Owner, later_broker: Broker
) -> None:
    later = Owner(later_broker, 2, said="One ")
    await go_on(later, broker)
    async with broker.follow(ANSWER, 4, owner.fence) as following:
        await later.end()
        assert await read_rest(following) == [Token("two "), USAGE, DONE]


async def test_an_end_that_one_reader_has_not_read_yet_is_not_told_to_those_who_come_after_it(
    broker: Broker, owner: Owner, later_broker: Broker
) -> None:
    await owner.say("One ")
    async with broker.follow(ANSWER, 0) as slow:
        await read_until_text(slow, "One ")
        await owner.end()

        async def is_ended() -> bool:
            return not await is_live(broker)

        await wait_until(is_ended)
        later = Owner(later_broker, 2, said="One ")
        await go_on(later, broker)
        async with broker.follow(ANSWER, 4) as following:
            await later.end()
            assert await read_rest(following) == [Token("two "), USAGE, DONE]
        assert await read_rest(slow) == [USAGE, DONE]


async def test_a_reader_who_comes_while_the_end_is_on_its_way_is_sent_to_the_database() -> None:
    """The database may know already that the answer goes on in another process."""
    with Redis() as server:
        broker = RedisBroker(server.url)
        owner = Owner(broker)
        await owner.open()
        await owner.say("One ")
        async with broker.follow(ANSWER, 0) as following:
            await read_until_text(following, "One ")
            server.pause()
            ending = asyncio.ensure_future(owner.end())
            await asyncio.sleep(0)
            with pytest.raises(NotLiveError):
                async with broker.follow(ANSWER, 0):
                    pass
            assert await read_rest(following) == [USAGE, DONE]
            await ending
            server.resume()
        await broker.aclose()


@pytest.mark.parametrize("has_begun", [True, False], ids=["its log was begun", "its log was never begun"])
async def test_an_end_that_redis_hears_late_does_not_end_the_answer_that_went_on_elsewhere(
    has_begun: bool, redis: Redis
) -> None:
    """Seen with two processes: Continue came to the one while the other's end was on its way to Redis."""
    with start_relay(redis.port) as relay:
        prefix = f"late {has_begun}:"
        first, second, readers = (
            RedisBroker(f"redis://127.0.0.1:{port}/0", prefix) for port in (relay.port, redis.port, redis.port)
        )
        owner, later = Owner(first), Owner(second, 2, said="One ")
        if not has_begun:
            relay.cut()
        await owner.open()
        await owner.say("One ")
        if has_begun:
            await wait_until(lambda: is_live(readers))
            relay.cut()
        owner.transcript.append([Token(LATE)])
        await owner.end()
        await go_on(later, readers)
        async with readers.follow(ANSWER, 4) as following:
            await read_until_text(following, "two ")
            relay.mend()
            await write_all(owner, readers)
            await later.say("three")
            await later.end()
            assert await read_rest(following) == [Token("three"), USAGE, DONE]
        for broker in (first, second, readers):
            await broker.aclose()


async def test_a_log_that_was_seized_is_not_begun_by_its_earlier_owner(redis: Redis) -> None:
    with start_relay(redis.port) as relay:
        owners, reaper = (RedisBroker(f"redis://127.0.0.1:{port}/0", "begun:") for port in (relay.port, redis.port))
        owner = Owner(owners)
        relay.cut()
        await owner.open()
        await owner.say("One ")
        assert await reaper.seize(ANSWER, 2, 0) == []
        relay.mend()
        await write_all(owner, reaper)
        assert not await is_live(reaper)
        await owners.aclose()
        await reaper.aclose()


async def test_what_a_later_owner_writes_is_not_seized_for_an_earlier_one(redis: Redis) -> None:
    """A process was paused between two steps of its sweep, and another one has swept meanwhile."""
    owners, reaper, readers = (RedisBroker(redis.url, "later:") for _ in range(3))
    later = Owner(owners, 3, said="One ")
    await go_on(later, readers)
    assert await reaper.seize(ANSWER, 2, 0) is None
    async with readers.follow(ANSWER, 4) as following:
        await later.end()
        assert await read_rest(following) == [Token("two "), USAGE, DONE]
    for broker in (owners, reaper, readers):
        await broker.aclose()


async def test_what_a_later_owner_has_seized_is_not_forgotten_for_an_earlier_one(redis: Redis) -> None:
    """A process was paused after it had seized, and another one has seized meanwhile and not read yet."""
    owners, paused, reaper = (RedisBroker(redis.url, "kept:") for _ in range(3))
    owner = Owner(owners)
    await owner.open()
    async with owners.follow(ANSWER, 0) as following:
        await owner.say("One ")
        await read_until_text(following, "One ")
    assert await paused.seize(ANSWER, 2, 0) == [Token("One ")]
    assert await reaper.seize(ANSWER, 3, 0) == [Token("One ")]
    await paused.forget(ANSWER, 2)
    assert await reaper.seize(ANSWER, 3, 0) == [Token("One ")]
    await reaper.forget(ANSWER, 3)
    assert await reaper.seize(ANSWER, 3, 0) == []
    for broker in (owners, paused, reaper):
        await broker.aclose()


async def test_all_answers_of_a_process_are_written_to_a_redis_that_was_started_again() -> None:
    with Redis() as server:
        owners, readers = RedisBroker(server.url), RedisBroker(server.url)
        await Owner(owners).open()
        await wait_until(lambda: is_live(readers))
        server.restart()
        await wait_until(owners.is_up)
        await wait_until(readers.is_up)
        answers = [f"answer-{number}" for number in range(2, 7)]
        for answer in answers:
            await owners.open(answer, 1, Transcript())
        for answer in answers:
            await wait_until(lambda answer=answer: is_live(readers, answer))  # type: ignore[misc]
        await owners.aclose()
        await readers.aclose()


async def test_what_is_seized_is_what_was_shown(redis: Redis) -> None:
    """The owner is gone, or only seems to be: what it writes now reaches nobody."""
    owners, reaper, readers = (RedisBroker(redis.url, "seized:") for _ in range(3))
    owner = Owner(owners)
    await owner.open()
    async with owners.follow(ANSWER, 0) as following:
        await owner.say("One two ")
        await read_until_text(following, "One two ")
        assert await reaper.seize(ANSWER, 2, 4) == [Token("two ")]
        await owner.say("three")
        await read_until_text(following, "three")
    assert await reaper.seize(ANSWER, 2, 0) == [Token("One two ")]
    with pytest.raises(NotLiveError):
        async with readers.follow(ANSWER, 0):
            pass
    for broker in (owners, reaper, readers):
        await broker.aclose()


async def test_an_answer_goes_on_without_redis_and_is_found_again_with_it() -> None:
    with Redis() as server:
        owners, readers = RedisBroker(server.url), RedisBroker(server.url)
        owner = Owner(owners)
        await owner.open()
        await wait_until(lambda: is_live(readers))
        async with owners.follow(ANSWER, 0) as near, readers.follow(ANSWER, 0) as far:
            await owner.say("One ")
            await read_until_text(near, "One ")
            await read_until_text(far, "One ")
            server.pause()
            await owner.say("two ")
            await read_until_text(near, "two ")
            with pytest.raises(NotLiveError):
                await far.read_next(PATIENCE)
            server.resume()
        await wait_until(lambda: is_live(readers))
        async with readers.follow(ANSWER, 4) as far:
            await read_until_text(far, "two ")
        await owners.aclose()
        await readers.aclose()


async def test_an_end_that_only_its_owner_could_not_tell_redis_is_told_later(redis: Redis) -> None:
    with start_relay(redis.port) as relay:
        owners, readers = (RedisBroker(f"redis://127.0.0.1:{port}/0", "late:") for port in (relay.port, redis.port))
        owner = Owner(owners)
        await owner.open()
        await owner.say("before ")
        await wait_until(lambda: is_live(readers))
        async with readers.follow(ANSWER, 0) as following:
            await read_until_text(following, "before ")
            relay.cut()
            await owner.say("meanwhile")
            await owner.end()
            relay.mend()
            assert await asyncio.wait_for(read_rest(following), PATIENCE) == [Token("meanwhile"), USAGE, DONE]
        await owners.aclose()
        await readers.aclose()
