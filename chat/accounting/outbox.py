"""The outbox: alerts and reports that go to administrators, by mail and by a signed webhook; none is lost or repeated.

A delivery is written together with what it reports. A sender claims it by a conditional UPDATE, for longer than any try
takes. When a process dies between sending and noting it, the delivery is sent once more under the same id, by which its
receiver can tell.
"""

from __future__ import annotations

import base64
import hmac
import http.client
import ipaddress
import json
import logging
import socket
import ssl
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from chat.accounting.month_report import write_report
from chat.models import Alert, Delivery, MeterKey

log = logging.getLogger(__name__)

# Seconds for each step of a try; a claim lasts for longer than all of them.
PATIENCE = 10
CLAIM = timedelta(seconds=120)

# The n-th failure is tried again after 2^n minutes, at most six hours: the last one after a day and a half.
MAX_TRIES = 14
LONGEST_PAUSE = timedelta(hours=6)

# Deliveries that one look at the outbox sends.
AT_ONCE = 20


class UndeliverableError(Exception):
    """An obstacle between a delivery and its receiver; the sentence holds no secret."""


def is_anything_due() -> bool:
    """Return whether any delivery waits to be tried now."""
    return Delivery.objects.filter(state=Delivery.State.WAITING, due_at__lte=timezone.now()).exists()


def deliver() -> int:
    """Try what is due, and return how many were sent. It waits for receivers: call it in a thread of its own."""
    due = Delivery.objects.filter(state=Delivery.State.WAITING, due_at__lte=timezone.now()).order_by("due_at")
    return sum(_try(delivery) for delivery in due.select_related("alert__budget")[:AT_ONCE])


def _try(delivery: Delivery) -> bool:
    row = Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.WAITING)
    tries = delivery.tries + 1
    # Of two processes that have read the same row only one finds it unclaimed.
    if not row.filter(due_at=delivery.due_at, tries=delivery.tries).update(due_at=timezone.now() + CLAIM, tries=tries):
        return False
    claimed = row.filter(tries=tries)
    try:
        _SENDERS[Delivery.Channel(delivery.channel)](delivery)
    except (OSError, UndeliverableError, http.client.HTTPException, ValueError) as error:
        # A ValueError is the host's name or a header that cannot be written out.
        sentence = f"{type(error).__name__}: {error}"[:200]
        state = Delivery.State.GIVEN_UP if tries >= MAX_TRIES else Delivery.State.WAITING
        pause = min(LONGEST_PAUSE, timedelta(minutes=2**tries))
        claimed.update(error=sentence, state=state, due_at=timezone.now() + pause)
        log.warning("%s by %s: try %d failed: %s", delivery.content, delivery.channel, tries, sentence)
        return False
    claimed.update(state=Delivery.State.SENT, sent_at=timezone.now(), error="")
    return True


# Mail


def _send_mail(delivery: Delivery) -> None:
    host = settings.CHAT_MAIL_FROM.rpartition("@")[2].strip(">") or "localhost"
    if delivery.month is not None:
        subject, text = write_report(delivery.month)
        receivers = settings.CHAT_REPORT_MAIL
    else:
        alert = _get_alert(delivery)
        subject, text, receivers = f"[Chatsite] {alert}", f"{alert.sentence}\n", settings.CHAT_ALERT_MAIL
    headers = {"Message-ID": f"<{delivery.pk}@{host}>"}  # the same at every try
    subject = " ".join(subject.split())  # a budget's name may have a line break, a header may not
    EmailMessage(subject, text, settings.CHAT_MAIL_FROM, receivers, headers=headers).send()


def _get_alert(delivery: Delivery) -> Alert:
    assert delivery.alert is not None  # noqa: S101 - a constraint of the database holds it
    return delivery.alert


# Webhook, as https://www.standardwebhooks.com has it


def _make_payload(delivery: Delivery) -> dict[str, Any]:
    alert = _get_alert(delivery)
    budget = alert.budget
    return {
        "type": "budget.threshold",
        "id": str(delivery.pk),
        "timestamp": alert.created_at.isoformat(),
        "data": {
            "budget": budget.name,
            "scope": budget.scope,
            "period": budget.period,
            "threshold": alert.threshold,
            "measure": MeterKey.parse(alert.meter).measure,
            "message": alert.sentence,
            "resets_at": alert.until.isoformat(),
        },
    }


def sign(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a webhook: HMAC-SHA256 of its id, time and body."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret.encode(), signed, "sha256")).decode()


def _post_webhook(delivery: Delivery) -> None:
    body = json.dumps(_make_payload(delivery)).encode()
    timestamp = str(int(timezone.now().timestamp()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Chatsite",
        "Webhook-Id": str(delivery.pk),
        "Webhook-Timestamp": timestamp,
        "Webhook-Signature": sign(settings.CHAT_ALERT_SECRET, str(delivery.pk), timestamp, body),
    }
    url = urlsplit(settings.CHAT_ALERT_WEBHOOK)
    connection = _connect(url.scheme, url.hostname or "", url.port)
    try:
        path = url.path or "/"
        connection.request("POST", f"{path}?{url.query}" if url.query else path, body, headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    if not 200 <= status < 300:  # a redirect is no receipt, and is not followed
        raise UndeliverableError(f"the receiver answered {status}")


def _connect(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    """Connect to the address that the host's name has now, once that is known to be allowed."""
    port = port or (443 if scheme == "https" else 80)
    [(_, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
    if not ip.is_global and not settings.CHAT_ALERT_PRIVATE:
        raise UndeliverableError("the webhook's address is private, and CHAT_ALERT_PRIVATE is not set")
    channel: socket.socket = socket.create_connection((str(ip), port), timeout=PATIENCE)
    if scheme == "https":
        channel = ssl.create_default_context().wrap_socket(channel, server_hostname=host)
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=PATIENCE)
    connection.sock = channel
    return connection


_SENDERS = {Delivery.Channel.MAIL: _send_mail, Delivery.Channel.WEBHOOK: _post_webhook}
