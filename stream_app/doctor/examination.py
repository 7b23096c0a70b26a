"""The whole examination, in the order in which a person would look."""

from __future__ import annotations

import asyncio

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_app.broker_kind import kind_of
from stream_app.contract import catalog_of
from stream_app.doctor.broker import certificate_findings, clock_probe, kind_findings
from stream_app.doctor.findings import Finding, error
from stream_app.doctor.group import watch
from stream_app.doctor.machine import machine_findings
from stream_app.doctor.serving import model_findings, security_findings, setting_findings
from stream_app.doctor.topics import describe, topic_findings
from stream_app.reading import open_consumer
from stream_app.security import Cluster, cluster_of, diagnose, not_allowed
from stream_app.settings import Settings

__all__ = ["examine"]


async def examine(settings: Settings, *, watch_s: float = 3.0, probe: bool = False) -> list[Finding]:
    """Every finding. watch_s: how long the group is watched; probe: make a topic and ask the broker its time by it.

    Raises:
        UsageError: the broker's security settings name files that are not what they should be.
    """
    cluster = cluster_of(settings)
    findings = [*setting_findings(), *await _broker(settings, cluster, watch_s, probe)]
    findings += await asyncio.to_thread(model_findings, settings)
    findings += security_findings(settings)
    return findings + await asyncio.to_thread(machine_findings, settings)


async def _broker(settings: Settings, cluster: Cluster, watch_s: float, probe: bool) -> list[Finding]:
    admin = AIOKafkaAdminClient(**cluster.options(), request_timeout_ms=15_000)
    try:
        try:
            kind = await kind_of(cluster)
            await admin.start()
        except (OSError, TimeoutError, KafkaError):
            return [_unreachable(str(await diagnose(cluster)))]
        findings = [*kind_findings(kind, cluster, settings), *await certificate_findings(cluster)]
        try:
            found = await describe(admin)
            catalog = catalog_of(settings)
            findings += topic_findings(found, catalog, settings)
            inputs = [
                TopicPartition(topic.kafka_name, p)
                for topic in catalog.values()
                if topic.role in ("input", "internal") and topic.name in _READ_BY_GROUP and topic.kafka_name in found
                for p in range(found[topic.kafka_name].partitions)
            ]
            if inputs:
                async with open_consumer(cluster) as consumer:
                    findings += await watch(admin, consumer, settings.group, inputs, watch_s)
            if probe:
                findings += await clock_probe(admin, cluster)
        except KafkaError as one:
            sentence = not_allowed(one) or f"the broker refused: {one!r}"
            findings.append(error("rights", sentence, "see docs/security.md"))
        return findings
    finally:
        await admin.close()


def _unreachable(sentence: str) -> Finding:
    what, _, advice = sentence.partition(": ")
    return error("broker", what, advice)


#: Topics that every worker's group reads. `items` is read by each worker outside the group.
_READ_BY_GROUP = ("clicks", "purchases", "trades", "trades-by-account", "alert-actions")
