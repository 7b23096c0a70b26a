"""The topics: there, with partitions that fit together, and kept long enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from stream_app.doctor.findings import Finding, counted, error, ok, warning
from stream_app.settings import Settings
from topics.catalog import Catalog, Topic

__all__ = ["Described", "describe", "topic_findings"]

#: An update that goes wrong, and is taken back, takes so long.
RESTART_S = 3600.0

#: A worker that is down over a weekend finds its input again.
WEEKEND_S = 3 * 86_400


@dataclass(frozen=True)
class Described:
    """A topic on the broker. config: empty where the broker does not tell; replicas: of partition 0."""

    partitions: int
    replicas: int
    config: dict[str, str]

    def number(self, name: str) -> int | None:
        """A setting that is a number."""
        text = self.config.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else None


async def describe(admin: object) -> dict[str, Described]:
    """Every topic of the broker that this user sees."""
    listed = await admin.describe_topics()  # type: ignore[attr-defined]
    topics = {t["topic"]: t for t in listed if t["partitions"]}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    configs: dict[str, dict[str, str]] = {}
    try:
        for response in await admin.describe_configs(resources) if resources else []:  # type: ignore[attr-defined]
            for code, _message, _type, name, entries, *_ in response.resources:
                if not code:
                    configs[name] = {entry[0]: entry[1] or "" for entry in entries}
    except (KafkaError, IncompatibleBrokerVersion):
        configs = {}
    return {
        name: Described(len(t["partitions"]), len(t["partitions"][0]["replicas"]), configs.get(name, {}))
        for name, t in topics.items()
    }


def topic_findings(found: Mapping[str, Described], catalog: Catalog, settings: Settings) -> list[Finding]:
    """What is missing, does not fit, or would lose something."""
    findings = [*_missing(found, catalog), *_partitions(found, catalog)]
    for topic in catalog.values():
        if topic.kafka_name in found:
            findings += _retention(topic, found[topic.kafka_name])
    findings += _changelogs(found, settings)
    findings += _replicas(found, catalog, settings)
    return findings or [ok("topics", f"{len(catalog)} topics are there, with {settings.partitions} partitions each")]


def _missing(found: Mapping[str, Described], catalog: Catalog) -> list[Finding]:
    missing = [topic.kafka_name for topic in catalog.values() if topic.kafka_name not in found]
    if not missing:
        return []
    return [warning(
        "topics-missing", f"{len(missing)} topics are missing: {', '.join(missing)}",
        "run `tsrec topics create`; a worker that may makes them at its start, with the broker's retention",
        topics=missing,
    )]  # fmt: skip


def _partitions(found: Mapping[str, Described], catalog: Catalog) -> list[Finding]:
    counts = {name: topic.partitions for name, topic in found.items()}
    advice = "make the topics anew with one count: events would not meet the state of their key"
    findings = [error("partitions", problem, advice) for problem in catalog.mismatches(counts)]
    others: dict[tuple[int, int], list[str]] = {}
    for topic in catalog.values():
        count = counts.get(topic.kafka_name, topic.partitions)
        if count != topic.partitions:
            others.setdefault((count, topic.partitions), []).append(topic.kafka_name)
    for (count, declared), names in others.items():  # one finding for one cause, which as a rule is the setting
        have = f"{names[0]} has" if len(names) == 1 else f"{', '.join(names)} have"
        findings.append(error(
            "partitions", f"{have} {counted(count, 'partition')}, and {declared} are declared",
            f"set TSREC_PARTITIONS={count} if all have as many, or make them anew; a worker does not start",
            topics=names,
        ))  # fmt: skip
    return findings


def _retention(topic: Topic, there: Described) -> list[Finding]:
    """Deletion by time, and compaction, against what the topic is for."""
    policy = there.config.get("cleanup.policy")
    name = topic.kafka_name
    if policy is None:
        return []
    if topic.cleanup == "compact" and "compact" not in policy:
        return [error(
            "compaction", f"{name} has cleanup.policy={policy}: records older than its retention are forgotten",
            f"kafka-configs.sh --alter --topic {name} --add-config cleanup.policy=compact, and send the items again",
            topic=name,
        )]  # fmt: skip
    if topic.cleanup == "delete" and policy == "compact":
        return [error(
            "compaction", f"{name} has cleanup.policy=compact: of the events of one key only the last stays",
            f"kafka-configs.sh --alter --topic {name} --add-config cleanup.policy=delete", topic=name,
        )]  # fmt: skip
    retention_ms = there.number("retention.ms")
    if topic.role != "input" or topic.cleanup != "delete" or retention_ms is None or retention_ms < 0:
        return []
    # By the time of its arrival, which for a late event is now: lateness is no reason to keep events longer.
    advice = f"kafka-configs.sh --alter --topic {name} --add-config retention.ms={topic.retention_ms}"
    if retention_ms / 1000 < RESTART_S:
        return [error(
            "retention", f"{name} keeps events {_time(retention_ms / 1000)}: a restart may take longer",
            advice, topic=name,
        )]  # fmt: skip
    if retention_ms / 1000 < WEEKEND_S:
        return [warning(
            "retention", f"{name} keeps events {_time(retention_ms / 1000)}: a worker that is down longer loses some",
            advice, topic=name,
        )]  # fmt: skip
    return []


def _changelogs(found: Mapping[str, Described], settings: Settings) -> list[Finding]:
    findings = []
    for name, there in found.items():
        if not (name.startswith(f"{settings.group}-") and name.endswith("-changelog")):
            continue
        policy = there.config.get("cleanup.policy")
        alter = f"kafka-configs.sh --alter --topic {name} --add-config cleanup.policy=compact"
        if policy is not None and "compact" not in policy:
            findings.append(error(
                "changelog", f"{name} has cleanup.policy={policy}: state older than its retention is lost at the next "
                "start", f"{alter} before it is, and look whether rows are gone already", topic=name,
            ))  # fmt: skip
        elif policy is not None and "delete" in policy and (there.number("retention.ms") or 0) >= 0:
            days = (there.number("retention.ms") or 0) / 86_400_000
            findings.append(error(
                "changelog", f"{name} is compacted and deleted after {days:g} days: rows idle for longer are lost",
                alter, topic=name,
            ))  # fmt: skip
        if there.partitions not in (1, settings.partitions):
            findings.append(error(
                "changelog", f"{name} has {there.partitions} partitions, and its sources {settings.partitions}",
                "a worker does not start: use another TSREC_GROUP to begin afresh, or the count it was made with",
                topic=name,
            ))  # fmt: skip
    return findings


def _replicas(found: Mapping[str, Described], catalog: Catalog, settings: Settings) -> list[Finding]:
    findings = []
    ours = {
        name: there
        for name, there in found.items()
        if catalog.by_kafka_name(name) or name.startswith(f"{settings.group}-")
    }
    blocked = [
        name for name, there in ours.items() if (there.number("min.insync.replicas") or 1) > there.replicas
    ]  # fmt: skip
    if blocked:
        findings.append(error(
            "replicas", f"min.insync.replicas is more than the replicas there are: {', '.join(blocked)}",
            "nothing can be written: lower it, or make the topics with more replicas (TSREC_REPLICATION)",
            topics=blocked,
        ))  # fmt: skip
    return findings


def _time(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"
