"""`tsrec topics`: the topics of the contract, on the broker and on paper."""

from __future__ import annotations

import json
from typing import Any

import click

from stream_app.commands._common import (
    bootstrap_option,
    catalog_of,
    cluster_of,
    echo_table,
    run,
    settings_for,
    topic_named,
)
from stream_app.errors import ContractError, TsrecError, UsageError
from stream_app.reading import open_consumer, partition_counts
from stream_app.security import Cluster
from topics.asyncapi import asyncapi_document, schema_document, schema_of, to_yaml
from topics.catalog import Catalog, Topic

__all__ = ["command"]

#: Kafka's codes: a topic that is there already, and no answer in time.
TOPIC_EXISTS = 36


@click.group()
def command() -> None:
    """Create the topics of the contract, list them, or print their schemas."""


@command.command(short_help="Make those that are missing on the broker.")
@click.argument("names", nargs=-1)
@bootstrap_option
@click.option("--partitions", type=click.IntRange(1), help="Partitions of keyed topics. [TSREC_PARTITIONS]")
@click.option("--replication", type=click.IntRange(1), help="Replicas. [TSREC_REPLICATION]")
@click.option("--prefix", help="Put before each name. [TSREC_TOPIC_PREFIX]")
@click.option("--dry-run", is_flag=True, help="Only say what would be created.")
def create(
    names: tuple[str, ...],
    bootstrap: str | None,
    partitions: int | None,
    replication: int | None,
    prefix: str | None,
    dry_run: bool,
) -> None:
    """Create the topics NAMES (all of the contract by default) with the partitions, cleanup and retention they need.

    A topic that exists is left as it is. Exit code 1 where partition counts on the broker do not fit together.
    """
    settings = settings_for(bootstrap, partitions=partitions, replication=replication, topic_prefix=prefix)
    catalog = catalog_of(settings)
    wanted = [topic_named(catalog, name) for name in names] or list(catalog.values())
    cluster = cluster_of(settings)
    problems = run(cluster, _create(cluster, catalog, wanted, settings.replication, dry_run))
    if problems:
        raise ContractError("; ".join(problems))


async def _create(
    cluster: Cluster, catalog: Catalog, wanted: list[Topic], replication: int, dry_run: bool
) -> list[str]:
    """Create what is missing; returns what does not fit together."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(**cluster.options())
    found = await partition_counts(cluster)
    try:
        await admin.start()
        missing = [topic for topic in wanted if topic.kafka_name not in found]
        if missing and not dry_run:
            new = [
                NewTopic(topic.kafka_name, topic.partitions, replication, topic_configs=topic.config())
                for topic in missing
            ]
            response = await admin.create_topics(new)
            for name, code, *rest in response.topic_errors:
                if code not in (0, TOPIC_EXISTS):
                    raise TsrecError(f"topic {name} was not created: {rest[0] if rest and rest[0] else f'code {code}'}")
        for topic in wanted:
            there = found.get(topic.kafka_name)
            verb = f"exists with {there} partitions" if there else "would be created" if dry_run else "created"
            count = "" if there else f" with {topic.partitions} partitions"
            click.echo(f"{topic.kafka_name}: {verb}{count}")
        return catalog.mismatches(found | {topic.kafka_name: topic.partitions for topic in missing})
    finally:
        await admin.close()


@command.command("list", short_help="What they are, and how many records they hold.")
@bootstrap_option
@click.option("--offline", is_flag=True, help="The contract only; ask no broker.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a topic.")
def list_(bootstrap: str | None, offline: bool, as_json: bool) -> None:
    """The topics of the contract: name, key, type, partitions, cleanup, retention, and records on the broker."""
    settings = settings_for(bootstrap)
    catalog = catalog_of(settings)
    counts: dict[str, tuple[int, int]] = {}
    if not offline:
        cluster = cluster_of(settings)
        counts = run(cluster, _counts(cluster, list(catalog.values())))
    rows = [_row(topic, None if offline else counts.get(topic.kafka_name)) for topic in catalog.values()]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    table = [
        (
            row["topic"],
            row["key"] or "–",
            row["type"] or "as it came",
            str(row["partitions"]),
            row["cleanup"],
            f"{row['retention_ms'] // 86_400_000} d" if row["retention_ms"] else "latest of a key",
            "" if offline else "missing" if row["on_broker"] is None else str(row["on_broker"]),
            f"{row['records']:,}" if row["records"] is not None else "",
        )
        for row in rows
    ]
    echo_table(
        ("topic", "key", "type", "partitions", "cleanup", "retention", "on broker", "records"),
        table,
        right=(3, 5, 6, 7),
    )


def _row(topic: Topic, found: tuple[int, int] | None) -> dict[str, Any]:
    return {
        "topic": topic.kafka_name,
        "name": topic.name,
        "key": topic.key,
        "type": topic.type.__name__ if topic.type else None,
        "partitions": topic.partitions,
        "cleanup": topic.cleanup,
        "retention_ms": topic.retention_ms if topic.cleanup == "delete" else None,
        "on_broker": found[0] if found else None,
        "records": found[1] if found else None,
    }


async def _counts(cluster: Cluster, wanted: list[Topic]) -> dict[str, tuple[int, int]]:
    """Kafka name -> (partitions, records between the first and the last offset), of the topics that are there."""
    from aiokafka import TopicPartition

    found = await partition_counts(cluster)
    async with open_consumer(cluster) as consumer:
        counts = {}
        for topic in wanted:
            if partitions := [TopicPartition(topic.kafka_name, p) for p in range(found.get(topic.kafka_name, 0))]:
                first, last = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
                counts[topic.kafka_name] = (len(partitions), sum(last.values()) - sum(first.values()))
        return counts


@command.command(short_help="JSON Schema of their records, or AsyncAPI.")
@click.argument("name", required=False)
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="The AsyncAPI 3 document of all topics, as YAML.")
def schema(name: str | None, as_asyncapi: bool) -> None:
    """Print the JSON Schema of the topic NAME, or of all; or the AsyncAPI document."""
    settings = settings_for(None)
    catalog = catalog_of(settings)
    if as_asyncapi:
        if name is not None:
            raise UsageError("the AsyncAPI document is of all topics: leave out NAME or --asyncapi")
        click.echo(to_yaml(asyncapi_document(catalog, settings.bootstrap.split(",")[0])))
        return
    if name is None:
        click.echo(json.dumps(schema_document(catalog), indent=2, ensure_ascii=False))
        return
    topic = topic_named(catalog, name)
    if topic.type is None:
        raise UsageError(f"{topic.name} holds records as they came: it has no schema")
    click.echo(json.dumps(schema_of(topic.type), indent=2, ensure_ascii=False))
