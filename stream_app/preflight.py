"""Before anything is consumed: a broker answers, and the topics have the partitions they were declared with."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NotControllerError, TopicAlreadyExistsError, for_code

from stream_app.broker_kind import kind_of
from stream_app.embedded import FETCH_WAIT_MS
from stream_app.errors import BrokerRefused, ContractError
from stream_app.security import Cluster, diagnose

__all__ = ["DEAD_LETTER_BYTES", "DEFAULT_RECORD_BYTES", "preflight"]

logger = logging.getLogger(__name__)

#: Seconds between two attempts to reach a broker, and between two lines that say so.
RETRY_S, REMINDER_S = 1.0, 30.0

#: What Kafka allows a record batch by default (`max.message.bytes`).
DEFAULT_RECORD_BYTES = 1_048_588

#: What topics of dead letters and late events are made to allow: larger than what any sane input topic does, since
#: the records that were refused for their size go there.
DEAD_LETTER_BYTES = 16 << 20


async def preflight(app: Any) -> None:
    """Wait for a broker, make the topics that are missing, and check those that are there.

    Sets `app.max_message_bytes`: topic -> largest record batch that the broker takes.

    Raises:
        ContractError: for a topic with another partition count than declared, or one that is missing where topics may
            not be made (`topic_allow_declare=False`).
    """
    admin = await _connect(app)
    try:
        wanted = _declared(app)
        found = await _partition_counts(admin, list(wanted))
        if missing := [name for name in wanted if name not in found]:
            await _create(app, admin, {name: wanted[name] for name in missing})
            found |= await _appeared(admin, missing)
        wrong = [
            f"{name} has {found[name]} and {count} {'is' if count == 1 else 'are'} declared"
            for name, count in wanted.items()
            if found.get(name, count) != count
        ]
        changelogs = _changelogs(app)
        counts = await _partition_counts(admin, list(changelogs))
        wrong += [
            f"{name}, the changelog of a table, has {counts[name]} and its sources have {count}"
            for name, count in changelogs.items()
            if counts.get(name, count) != count
        ]
        if wrong:
            raise ContractError(
                f"partition counts at {app.bootstrap} do not fit: {'; '.join(wrong)}. Events would not meet the state "
                "of their key: make the topics anew with the declared counts, or declare the counts they have "
                "(TSREC_PARTITIONS), under another application id if there is state already"
            )
        app.max_message_bytes.update(await _max_message_bytes(admin, list(wanted)))
        if app.fetch_wait_s is None and await _is_embedded(app.cluster):
            app.fetch_wait_s = FETCH_WAIT_MS / 1000
    finally:
        await admin.close()


def _declared(app: Any) -> dict[str, int]:
    """Topic -> partitions, of everything that is read or written in batches."""
    topics = {topic.name: topic.partitions for topic in app.batch_topics.values()}
    return topics | {topic.name: topic.partitions for topic in (app.dead_letters, app.late_events)}


def _changelogs(app: Any) -> dict[str, int]:
    return {table.changelog_topic_name: table.partitions for table in app.columnar_tables}


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """aiokafka logs each failed attempt; one line of ours says it better."""
    client = logging.getLogger(name)
    level = client.level
    client.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        client.setLevel(level)


async def _connect(app: Any) -> AIOKafkaAdminClient:
    reminded = float("-inf")
    with _silent("aiokafka"):
        while True:
            admin = AIOKafkaAdminClient(request_timeout_ms=10_000, **app.cluster.options())
            try:
                await admin.start()
            except (KafkaError, OSError) as error:
                await admin.close()
                if time.monotonic() - reminded > REMINDER_S:
                    reminded = time.monotonic()
                    why = await diagnose(app.cluster)
                    if isinstance(why, BrokerRefused):
                        raise why from error
                    logger.warning("%s; trying on until one does", why)
                await asyncio.sleep(RETRY_S)
            else:
                if reminded > float("-inf"):
                    logger.info("a broker answers at %s", app.bootstrap)
                return admin


async def _is_embedded(cluster: Cluster) -> bool:
    try:
        return not (await kind_of(cluster)).is_kafka
    except (OSError, TimeoutError) as error:
        logger.debug("the broker does not say what it is: %r", error)
        return False


async def _partition_counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Partitions of those topics that are there. All are asked for: a broker may make topics that are asked by name."""
    described = await admin.describe_topics()
    return {t["topic"]: len(t["partitions"]) for t in described if t["topic"] in names and t["partitions"]}


async def _appeared(admin: AIOKafkaAdminClient, names: list[str], timeout_s: float = 15.0) -> dict[str, int]:
    """Partition counts of topics that were just made, as soon as the broker tells them."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = await _partition_counts(admin, names)
        if len(found) == len(names):
            return found
        if time.monotonic() > deadline:
            raise ContractError(f"topics {', '.join(sorted(set(names) - set(found)))} were made, but do not appear")
        await asyncio.sleep(0.1)


async def _create(app: Any, admin: AIOKafkaAdminClient, missing: dict[str, int]) -> None:
    if not app.conf.topic_allow_declare:
        raise ContractError(
            f"topics {', '.join(missing)} are not at {app.bootstrap}, and this worker may not make them: "
            "run `tsrec topics create` with an account that may"
        )
    aside = {app.dead_letters.name, app.late_events.name}
    new = []
    for name, partitions in missing.items():
        config = dict(app.topic_configs.get(name, {}))
        if name in aside:
            config["max.message.bytes"] = str(DEAD_LETTER_BYTES)
        new.append(NewTopic(name, partitions, app.conf.topic_replication_factor, topic_configs=config))
    for attempt in range(10):
        response = await admin.create_topics(new)
        errors = {
            name: (for_code(code), rest[0] if rest else "") for name, code, *rest in response.topic_errors if code
        }
        errors = {name: error for name, error in errors.items() if error[0] is not TopicAlreadyExistsError}
        if not errors:
            break
        if attempt == 9 or any(kind is not NotControllerError for kind, _ in errors.values()):
            said = "; ".join(f"{name}: {kind.__name__} {text or ''}".strip() for name, (kind, text) in errors.items())
            raise ContractError(f"topics could not be made at {app.bootstrap}: {said}")
        await asyncio.sleep(0.5)
    logger.info("topics made: %s", ", ".join(f"{name} ({count})" for name, count in missing.items()))


async def _max_message_bytes(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """The largest record batch each topic takes, as far as the broker tells."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs={"max.message.bytes": None}) for name in names]
    try:
        responses = await admin.describe_configs(resources)
    except (KafkaError, IncompatibleBrokerVersion) as error:
        logger.debug("the broker does not tell its configuration: %r", error)
        return {}
    limits = {}
    for response in responses:
        for code, _message, _type, name, entries, *_ in response.resources:
            values = {entry[0]: entry[1] for entry in entries} if not code else {}
            if values.get("max.message.bytes"):
                limits[name] = int(values["max.message.bytes"])
    return limits
