"""The broker: whether it is what the settings need, how long its certificate lasts, how its clock stands."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
import uuid
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, for_code

from stream_app.broker_kind import Kind
from stream_app.doctor.findings import Finding, error, ok, warning
from stream_app.security import Cluster
from stream_app.settings import Settings

__all__ = ["certificate_findings", "clock_probe", "kind_findings"]

#: A clock that is off by so much makes lateness and latencies wrong that anybody looks at.
SKEW_S = 2.0

#: A certificate is renewed before it has this long to go.
CERTIFICATE_DAYS = 14


def kind_findings(kind: Kind, cluster: Cluster, settings: Settings) -> list[Finding]:
    """Whether the broker is what the settings need."""
    at = f"{cluster.bootstrap} ({cluster.protocol})"
    found = [ok("broker", f"{kind.name} answers at {at}", kind=kind.name, transactions=kind.transactions)]
    if settings.guarantee == "exactly_once" and not kind.transactions:
        found.append(error(
            "transactions", "TSREC_GUARANTEE=exactly_once, and this broker has no transactions",
            "use Apache Kafka, or TSREC_GUARANTEE=at_least_once",
        ))  # fmt: skip
    if not kind.is_kafka and settings.session_timeout_s > 6:
        found.append(warning(
            "session", f"a group join takes half the session timeout here: {settings.session_timeout_s / 2:g} s",
            "set TSREC_SESSION_TIMEOUT_S=6 with the embedded broker",
        ))  # fmt: skip
    return found


async def certificate_findings(cluster: Cluster) -> list[Finding]:
    """How long the broker's certificate holds."""
    if cluster.tls is None:
        return []
    found = []
    for host, port in cluster.addresses():
        try:
            _reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=cluster.tls), 5)
        except (OSError, TimeoutError):
            continue
        certificate: dict[str, Any] = writer.get_extra_info("peercert") or {}
        writer.close()
        if "notAfter" not in certificate:
            continue
        days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86_400
        text = f"the certificate of {host}:{port} holds for {days:.0f} days"
        if days < CERTIFICATE_DAYS:
            found.append(warning("certificate", text, "renew it: after that no client gets in", days=round(days, 1)))
        else:
            found.append(ok("certificate", text, days=round(days, 1)))
    return found


async def clock_probe(admin: Any, cluster: Cluster) -> list[Finding]:
    """The broker's clock against this machine's, by a topic of our own that is made, written to once and deleted."""
    topic = f"tsrec-doctor-{uuid.uuid4().hex[:12]}"
    config = {"message.timestamp.type": "LogAppendTime"}
    try:
        answer = await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])
        if code := answer.topic_errors[0][1]:
            raise for_code(code)("the topic could not be made")
        producer = AIOKafkaProducer(**cluster.options(), linger_ms=0)
        try:
            await producer.start()
            await producer.send_and_wait(topic, b"connections are open after this one", partition=0)
            before = time.time()
            sent = await producer.send_and_wait(topic, b"what time is it?", partition=0)
            after = time.time()
        finally:
            await producer.stop()
        stamp_ms = await _stamp(cluster, TopicPartition(topic, 0), sent.offset)
    except (KafkaError, TimeoutError) as one:
        return [warning(
            "clock-probe", f"a topic could not be made, written and read ({one!r})",
            "give this user the rights of docs/security.md, or leave out --probe",
        )]  # fmt: skip
    finally:
        # It was not made, or this user may not delete: the name says whose it is.
        with contextlib.suppress(KafkaError):
            await admin.delete_topics([topic])
    stamp = stamp_ms / 1000
    skew = stamp - after if stamp > after else min(0.0, stamp - before)
    text = f"the broker's clock is {skew:+.3f} s against this one, to {after - before:.3f} s"
    if abs(skew) > SKEW_S:
        return [error(
            "clock", text, "set both clocks by NTP: lateness and latency compare event times of many machines",
            skew_s=round(skew, 3),
        )]  # fmt: skip
    return [ok("clock", text, skew_s=round(skew, 3))]


async def _stamp(cluster: Cluster, partition: TopicPartition, offset: int) -> int:
    consumer = AIOKafkaConsumer(**cluster.options(), enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign([partition])
        consumer.seek(partition, offset)
        record = await asyncio.wait_for(consumer.getone(), 10)
        return int(record.timestamp)
    finally:
        await consumer.stop()
