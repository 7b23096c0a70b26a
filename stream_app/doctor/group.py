"""The consumer group: who is in it, how far behind it is, and which partitions stand still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code

from stream_app.doctor.findings import Finding, counted, error, ok, warning

__all__ = ["Look", "Member", "group_findings", "look"]

#: Lag that a worker catches up with in seconds.
SMALL_LAG = 1_000

#: Half a second apart.
COORDINATOR_TRIES = 20

#: A clock that runs ahead by more than this makes everybody else's events late.
AHEAD_S = 5.0


@dataclass(frozen=True)
class Member:
    """A worker of the group: its id, where it connects from, and what it was given."""

    id: str
    host: str
    partitions: frozenset[TopicPartition]


@dataclass(frozen=True)
class Look:
    """The group at one moment. committed: -1 where nothing is; newest_ms: timestamp of the last record, where read."""

    state: str
    members: list[Member]
    committed: dict[TopicPartition, int]
    begins: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]
    newest_ms: dict[TopicPartition, int] = field(default_factory=dict)

    def lag(self, tp: TopicPartition) -> int:
        """Records that were not committed yet."""
        at = self.committed.get(tp, -1)
        return max(0, self.ends[tp] - max(at, self.begins[tp]))


async def look(
    admin: Any, consumer: Any, group: str, inputs: list[TopicPartition], *, newest: bool = False
) -> Look | None:
    """The group now; None where the broker does not tell about groups. newest: also read the last record of each."""
    for attempt in range(COORDINATOR_TRIES):
        try:
            (answer,) = await admin.describe_consumer_groups([group])
            described = answer.groups[0]
            if described[0]:
                raise for_code(described[0])(group)
            committed = await admin.list_consumer_group_offsets(group)
            break
        except (KafkaError, IncompatibleBrokerVersion) as failure:
            # The first question for a group on a new broker makes the topic of offsets: try again.
            if not getattr(failure, "retriable", False) or attempt == COORDINATOR_TRIES - 1:
                return None
            await asyncio.sleep(0.5)
    members = [Member(m[0], m[2].lstrip("/"), _assigned(m[4])) for m in described[5]]
    begins, ends = await consumer.beginning_offsets(inputs), await consumer.end_offsets(inputs)
    stamps = await _newest(consumer, begins, ends) if newest else {}
    return Look(
        described[2], members, {tp: committed[tp].offset for tp in inputs if tp in committed}, begins, ends, stamps
    )


def _assigned(data: bytes) -> frozenset[TopicPartition]:
    if not data:
        return frozenset()
    return frozenset(ConsumerProtocolMemberAssignment.decode(data).partitions())


async def _newest(
    consumer: Any, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    waiting = {tp for tp in ends if ends[tp] > begins[tp]}
    if not waiting:
        return {}
    consumer.assign(list(waiting))
    for tp in waiting:
        consumer.seek(tp, ends[tp] - 1)
    found: dict[TopicPartition, int] = {}
    deadline = time.monotonic() + 3
    while waiting - found.keys() and time.monotonic() < deadline:
        for tp, records in (await consumer.getmany(timeout_ms=300)).items():
            found[tp] = max(found.get(tp, 0), *(record.timestamp for record in records))
    return found


async def watch(admin: Any, consumer: Any, group: str, inputs: list[TopicPartition], seconds: float) -> list[Finding]:
    """Look twice, `seconds` apart."""
    first = await look(admin, consumer, group, inputs, newest=True)
    if first is None:
        return [ok("group", "this broker tells nothing about consumer groups: lag was not looked at")]
    await asyncio.sleep(seconds if first.members else 0)
    second = await look(admin, consumer, group, inputs) if first.members else first
    return group_findings(group, first, second or first, seconds, time.time())


def group_findings(group: str, first: Look, second: Look, seconds: float, now_s: float) -> list[Finding]:
    """What two looks at the group say."""
    total = sum(map(second.lag, second.ends))
    findings = [*_lost(second), *_ahead(first, now_s)]
    if not second.members:
        if total:
            findings.append(error(
                "workers", f"no worker of the group {group!r} runs, and {total:,} records wait",
                "start `tsrec worker`, with the same TSREC_GROUP", lag=total,
            ))  # fmt: skip
        else:
            findings.append(warning(
                "workers", f"no worker of the group {group!r} runs", "start `tsrec worker`", lag=0
            ))  # fmt: skip
        return findings
    if second.state != "Stable":
        findings.append(warning(
            "group", f"the group {group!r} is in the state {second.state}: partitions are being given out",
            "look again in a minute; if it stays so, a member does not answer: see its log",
        ))  # fmt: skip
        return findings
    owners = {tp: member for member in second.members for tp in member.partitions}
    if orphans := [tp for tp in second.ends if tp not in owners]:
        findings.append(error(
            "unassigned", f"nobody reads {_names(orphans)}",
            "a worker of other settings is in the group: stop those of another TSREC_TOPIC_PREFIX or version",
        ))  # fmt: skip
    findings += _stuck(first, second, owners, seconds)
    if idle := [member for member in second.members if not member.partitions]:
        findings.append(warning(
            "idle", f"{len(idle)} of {len(second.members)} workers have no partition",
            "there are more workers than partitions: run fewer, or make topics with more partitions",
        ))  # fmt: skip
    if not any(finding.check in ("stuck", "unassigned") for finding in findings):
        rate = sum(max(0, second.committed.get(tp, 0) - first.committed.get(tp, 0)) for tp in second.ends) / seconds
        text = f"{counted(len(second.members), 'worker')}, {total:,} records behind, {rate:,.0f} records/s committed"
        grew = total - sum(map(first.lag, first.ends))
        if total > SMALL_LAG and grew > 0:
            findings.append(warning(
                "lag", f"{text}; the lag grew by {grew:,} in {seconds:g} s",
                "run more processes or workers (up to the number of partitions), or see docs/troubleshooting.md",
                lag=total,
            ))  # fmt: skip
        else:
            findings.append(ok("lag", text, lag=total))
    return findings


def _stuck(first: Look, second: Look, owners: Mapping[TopicPartition, Member], seconds: float) -> list[Finding]:
    """Partitions that had work in both looks, and did not commit between them."""
    standing: dict[Member, list[TopicPartition]] = {}
    for tp, owner in owners.items():
        if tp not in second.ends or not first.lag(tp) or not second.lag(tp):
            continue
        if second.committed.get(tp, -1) == first.committed.get(tp, -1):
            standing.setdefault(owner, []).append(tp)
    return [
        error(
            "stuck", f"the worker at {member.host} ({member.id}) committed nothing of {_names(tps)} in {seconds:g} s, "
            f"with {sum(map(second.lag, tps)):,} records waiting",
            "see its /readyz and log: it recovers, waits for the broker, or an agent hangs; a restart loses nothing",
            member=member.id, lag=sum(map(second.lag, tps)),
        )
        for member, tps in standing.items()
    ]  # fmt: skip


def _lost(second: Look) -> list[Finding]:
    """Offsets that were committed and are gone, before the topic's beginning or after its end."""
    gone = {tp: second.begins[tp] - at for tp, at in second.committed.items() if 0 <= at < second.begins[tp]}
    findings = []
    if gone:
        findings.append(error(
            "retention-lost", f"{sum(gone.values()):,} records of {_names(list(gone))} were deleted unread",
            "raise retention.ms of the topic; the worker goes on after the gap",
        ))  # fmt: skip
    if beyond := [tp for tp, at in second.committed.items() if at > second.ends[tp]]:
        findings.append(error(
            "made-anew", f"{_names(beyond)} end before what the group has committed: the topics were made anew",
            "use another TSREC_GROUP: rows of the old one take no events until these offsets come",
        ))  # fmt: skip
    return findings


def _ahead(first: Look, now_s: float) -> list[Finding]:
    ahead = {tp: ms / 1000 - now_s for tp, ms in first.newest_ms.items() if ms / 1000 - now_s > AHEAD_S}
    if not ahead:
        return []
    return [warning(
        "clock", f"the last record of {_names(list(ahead))} is {max(ahead.values()):,.0f} s in the future",
        "this clock or the sender's is wrong: set both by NTP (`tsrec doctor --probe` asks the broker for its time)",
    )]  # fmt: skip


def _names(tps: list[TopicPartition]) -> str:
    """`clicks 0 1, trades 3`."""
    topics: dict[str, list[int]] = {}
    for tp in sorted(tps):
        topics.setdefault(tp.topic, []).append(tp.partition)
    return ", ".join(f"{topic} {' '.join(map(str, partitions))}" for topic, partitions in topics.items())
