"""The brake on guessing passwords, for all processes together: it lies in the database.

Three tallies of wrong passwords hold it:

- an account from one network: after `CHAT_LOGIN_TRIES` the next try has to wait, twice as long each time;
- a network, whatever the account: after `CHAT_LOGIN_ADDRESS_TRIES`, so that nobody tries one password on every name;
- an account, from anywhere: tries are held up for some seconds and never refused. A refusal would let anybody lock a
  user out by guessing on purpose.

Where an account was logged in to within `KNOWN_FOR`, only the first one counts: whoever guesses elsewhere, or shares
the network, does not slow its owner down. A name that does not exist is counted like one that does, so the brake says
nothing about it. A try is counted before the password is hashed and taken back when it was right, so of a hundred at
once, in whichever processes, only as many are hashed as are free.

Call all of this in a thread, see `chat.tasks.run_in_thread`.
"""

from __future__ import annotations

import logging
import math
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from chat.accounts.addresses import find_network
from chat.core.events import make_storable
from chat.models import LoginTally, User
from chat.observability import metrics

log = logging.getLogger(__name__)

KNOWN_FOR = timedelta(days=30)

# Old tallies are deleted at one wrong password in this many.
DELETED_AT_ONE_OF = 50


class Rule(NamedTuple):
    """The waiting times of tries after wrong passwords.

    `free` of them cost nothing, the next one `first` seconds and each further one twice as many as the one before, up
    to `longest`. All are forgotten `memory` after the last one.
    """

    free: Callable[[], int]
    first: float
    longest: float
    memory: timedelta

    def wait_after(self, wrong: int) -> float:
        """Return the seconds that a try has to wait after `wrong` wrong ones."""
        beyond = wrong - self.free()
        return 0.0 if beyond < 0 else min(self.longest, self.first * 2 ** min(beyond, 30))


PAIR = Rule(lambda: settings.CHAT_LOGIN_TRIES, 5, 300, timedelta(hours=1))
NETWORK = Rule(lambda: settings.CHAT_LOGIN_ADDRESS_TRIES, 5, 60, timedelta(minutes=15))
ACCOUNT = Rule(lambda: 2 * settings.CHAT_LOGIN_TRIES, 0.5, 8, timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try to log in.

    `refused_for` are the seconds until another one is taken; a try that is taken is to be held up for `delay` seconds.
    """

    name: str
    address: str
    refused_for: float = 0.0
    delay: float = 0.0
    free_before: tuple[datetime, ...] = ()  # when its tallies would have let it through

    @property
    def retry_after(self) -> int:
        """Whole seconds until another try is accepted."""
        return max(1, math.ceil(self.refused_for))

    @property
    def _keys(self) -> tuple[str, str, str]:
        """The keys of the attempt's tallies: of the account at this address, the address, and the account."""
        # Names that look the same, or differ only in case, are counted as one: somebody who guesses tries all forms.
        name = _clean_name(self.name).casefold()
        network = find_network(self.address)
        return _make_key("pair", name, network), _make_key("network", network), _make_key("account", name)


def _clean_name(name: str) -> str:
    """Return a typed name as the login form looks it up, without what no database can be asked for."""
    return unicodedata.normalize("NFKC", make_storable(name).strip())


def _make_key(*parts: str) -> str:
    return salted_hmac("chat.accounts.logins", "\0".join(parts), algorithm="sha256").hexdigest()


def admit(name: str, address: str) -> Attempt:
    """Count a try to log in, or refuse it.

    One that is taken ends with `record_right_password`, `record_wrong_password` or `cancel_attempt`.
    """
    attempt = Attempt(name, address)
    if not settings.CHAT_LOGIN_TRIES:
        return attempt
    with transaction.atomic():
        now = timezone.now()
        pair, network, account = _lock_tallies(attempt, now)
        is_known = pair.known_until is not None and pair.known_until > now
        free_at = pair.free_at if is_known else max(pair.free_at, network.free_at)
        refused = Attempt(name, address, refused_for=(free_at - now).total_seconds()) if free_at > now else None
        taken = Attempt(
            name,
            address,
            delay=0.0 if is_known else ACCOUNT.wait_after(account.wrong),
            free_before=(pair.free_at, network.free_at, account.free_at),
        )
        if refused is None:
            for tally, rule in ((pair, PAIR), (network, NETWORK), (account, ACCOUNT)):
                tally.wrong += 1
                tally.free_at = max(tally.free_at, now + timedelta(seconds=rule.wait_after(tally.wrong)))
                tally.wrong_until = now + rule.memory
            _write(pair, network, account)
    if refused is not None:
        metrics.count_login("braked")
        seconds = refused.retry_after
        log.warning(
            "login refused for %d s: too many wrong passwords from %s for %s", seconds, address, _mask_name(name)
        )
        return refused
    return taken


def record_right_password(attempt: Attempt) -> None:
    """Delete the wrong passwords counted for a try whose password was right: the account's owner had typed them."""
    metrics.count_login("right")
    _uncount(attempt, is_right=True)


def record_wrong_password(attempt: Attempt) -> None:
    """Log a try whose password was wrong, or whose account does not exist; it is counted already."""
    metrics.count_login("wrong")
    log.warning("wrong password from %s for %s", attempt.address, _mask_name(attempt.name))
    if not secrets.randbelow(DELETED_AT_ONE_OF):
        forget_old()


def cancel_attempt(attempt: Attempt) -> None:
    """Take a try off the tallies whose password was never checked."""
    _uncount(attempt, is_right=False)


def forget_old() -> int:
    """Delete the tallies that do not count any more; return how many."""
    now = timezone.now()
    old = LoginTally.objects.select_for_update(skip_locked=True).filter(
        Q(known_until=None) | Q(known_until__lt=now), wrong_until__lt=now
    )
    with transaction.atomic():
        return LoginTally.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:1000])).delete()[0]


def _uncount(attempt: Attempt, *, is_right: bool) -> None:
    if not settings.CHAT_LOGIN_TRIES:
        return
    with transaction.atomic():
        now = timezone.now()
        pair, network, account = tallies = _lock_tallies(attempt, now)
        for tally, before in zip(tallies, attempt.free_before, strict=True):
            tally.wrong = max(0, tally.wrong - 1)
            # Not set to `now`: otherwise a login to an account of one's own would allow the next guess at once.
            tally.free_at = min(tally.free_at, before)
        if is_right:
            pair.wrong, pair.free_at, pair.known_until = 0, now, now + KNOWN_FOR
        _write(pair, network, account)


def _lock_tallies(attempt: Attempt, now: datetime) -> list[LoginTally]:
    """Return the three tallies of a try, with an empty one in the place of what is new or forgotten.

    Their rows are locked in the order of their keys, so that two tries never wait for each other.
    """
    keys = attempt._keys
    new = [LoginTally(key=key, free_at=now, wrong_until=now) for key in sorted(keys)]
    LoginTally.objects.bulk_create(new, ignore_conflicts=True)
    found = {tally.key: tally for tally in LoginTally.objects.select_for_update().filter(key__in=keys).order_by("key")}
    for tally in found.values():
        if tally.wrong_until <= now:
            tally.wrong, tally.free_at = 0, now
    return [found[key] for key in keys]


def _write(*tallies: LoginTally) -> None:
    LoginTally.objects.bulk_update(tallies, ["wrong", "free_at", "known_until", "wrong_until"])


def _mask_name(name: str) -> str:
    """Return the account of a typed name by its id, for the log; never the name itself, which may be a password."""
    user = User.objects.filter(username=_clean_name(name)).values_list("pk", flat=True).first()
    return f"user {user}" if user is not None else "no user"
