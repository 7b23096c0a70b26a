"""The contract as the settings have it: topics under their own names, records in a source's dialect."""

from __future__ import annotations

from stream_app.errors import UsageError
from stream_app.settings import Settings
from stream_app.settings_topics import TopicSettings
from topics.catalog import Catalog, Topic
from topics.dialect import Dialect, foreign_words
from topics.errors import ContractViolation

__all__ = ["catalog_of", "check_dialects", "dialect_of", "inputs_of"]


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


def check_dialects(settings: Settings) -> None:
    """Raise UsageError where the settings of an input topic name a field or a word that the contract does not have:
    no record of it could ever be used."""
    catalog = Catalog()
    for name, mine in inputs_of(settings).items():
        where = f"TSREC_{name.replace('-', '_').upper()}"
        type_ = catalog[name].type
        assert type_ is not None  # inputs have structs; only what is kept as it came has none
        try:
            Dialect(mine.fields, mine.values).check(type_)
        except ContractViolation as error:
            raise UsageError(f"settings {where}__FIELDS and {where}__VALUES: {error}") from error
        for field, word, words in foreign_words(type_, mine.values):
            raise UsageError(f"setting {where}__VALUES: {field} is one of {', '.join(words)}, not {word!r}")
