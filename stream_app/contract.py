"""The contract as the settings have it: topics under their own names, records in a source's dialect."""

from __future__ import annotations

from stream_app.settings import Settings
from stream_app.settings_topics import TopicSettings
from topics.catalog import Catalog, Topic
from topics.dialect import Dialect

__all__ = ["catalog_of", "dialect_of", "inputs_of"]


def inputs_of(settings: Settings) -> dict[str, TopicSettings]:
    """The input topics that have settings, by the contract's names."""
    return {
        "clicks": settings.clicks,
        "purchases": settings.purchases,
        "trades": settings.trades,
        "items": settings.items,
        "credit-applications": settings.credit_applications,
        "card-transactions": settings.card_transactions,
        "fraud-labels": settings.fraud_labels,
    }


def catalog_of(settings: Settings) -> Catalog:
    """The topics under the names the settings give them."""
    names = {name: mine.name for name, mine in inputs_of(settings).items() if mine.name is not None}
    return Catalog(settings.topic_prefix, names, settings.partitions)


def dialect_of(settings: Settings, topic: Topic) -> Dialect | None:
    """How records of an input topic are written, where the settings say so."""
    mine = inputs_of(settings).get(topic.name)
    if mine is None:
        return None
    return Dialect(mine.fields, mine.values, mine.time_unit, mine.numeric_ids) or None
