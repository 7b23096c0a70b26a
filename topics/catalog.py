"""Every topic: its name, key, type, partitions, cleanup and retention. What Kafka is told when topics are created."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from topics import audit, decisions, events

__all__ = ["TOPICS", "Catalog", "Topic"]

DAY_MS = 86_400_000

#: Partitions of every keyed topic: enough for four workers; raise it before the first event, never after.
PARTITIONS = 4

#: Largest record in bytes, of topics and of producers (Kafka's own default is about the same).
MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class Topic:
    """One topic of the contract. `name` is ours, `kafka_name` what it is called on the broker.

    key: the field whose value is the record's key, or "" where the record is passed on as it came.
    group: topics of one group are keyed alike and must have equal partition counts.
    """

    name: str
    key: str
    type: type[Any] | None
    role: Literal["input", "output", "internal", "errors"]
    group: str = ""
    partitions: int = PARTITIONS
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = 7 * DAY_MS
    summary: str = ""
    kafka_name: str = ""

    def __post_init__(self) -> None:
        if not self.kafka_name:
            object.__setattr__(self, "kafka_name", self.name)

    def config(self) -> dict[str, str]:
        """The topic's settings on the broker."""
        config = {"cleanup.policy": self.cleanup, "max.message.bytes": str(MAX_RECORD_BYTES + 1024)}
        if self.cleanup == "delete":
            config["retention.ms"] = str(self.retention_ms)
        else:
            # A reader that was away for a day still sees that a key was deleted.
            config["delete.retention.ms"] = str(DAY_MS)
        return config


TOPICS: tuple[Topic, ...] = (
    Topic("clicks", "user_id", events.Click, "input", "user", summary="Views, clicks and carts."),
    Topic("purchases", "user_id", events.Purchase, "input", "user", retention_ms=30 * DAY_MS, summary="Order lines."),
    Topic("trades", "symbol", events.Trade, "input", "symbol", summary="Trades on a market."),
    Topic("items", "item_id", events.Item, "input", partitions=1, cleanup="compact", summary="The item catalog."),
    Topic(
        "credit-applications", "account_id", events.CreditApplication, "input", "account", summary="Credit wanted."
    ),
    Topic("feedback", "decision_id", events.Feedback, "input", "decision", summary="Rewards of recommendations."),
    Topic("alert-actions", "alert_id", events.AlertAction, "input", summary="What people did about alerts."),
    Topic(
        "trades-by-account", "account_id", events.Trade, "internal", "account", retention_ms=DAY_MS,
        summary="Trades, keyed again by account.",
    ),
    Topic(
        "symbol-bars", "symbol", events.SymbolBar, "internal", "account", retention_ms=DAY_MS,
        summary="Closed bars, a copy in each partition: what accounts' positions are worth and risk.",
    ),
    Topic("card-transactions", "account_id", events.CardTransaction, "input", "account", summary="Card payments."),
    Topic(
        "fraud-labels", "account_id", events.FraudLabel, "input", "account", retention_ms=30 * DAY_MS,
        summary="What card payments turned out to be.",
    ),
    Topic(
        "transactions-by-merchant", "merchant_id", events.MerchantTransaction, "internal", "merchant",
        retention_ms=DAY_MS, summary="Card payments and labels, keyed again by merchant.",
    ),
    Topic(
        "item-counts", "item_id", events.ItemCount, "internal", "item", retention_ms=DAY_MS,
        summary="How often items were wanted, by window and partition of users.",
    ),
    Topic("recommendations", "user_id", decisions.Recommendation, "output", "user", summary="Items for a user, now."),
    Topic(
        "decision-records", "user_id", audit.DecisionRecord, "output", "user",
        summary="What sampled recommendations were made from.",
    ),
    Topic(
        "risk-alerts", "subject", decisions.RiskAlert, "output", retention_ms=30 * DAY_MS, summary="What needs a look."
    ),
    Topic("forecasts", "subject", decisions.Forecast, "output", summary="Forecasts with intervals and tail risk."),
    Topic(
        "credit-scores", "account_id", decisions.CreditScore, "output", "account", retention_ms=30 * DAY_MS,
        summary="Scores of credit applications.",
    ),
    Topic(
        "account-risk", "account_id", decisions.AccountRisk, "output", "account",
        summary="Tail risk of accounts' positions.",
    ),
    Topic(
        "fraud-scores", "account_id", decisions.FraudScore, "output", retention_ms=30 * DAY_MS,
        summary="Scores of card payments.",
    ),
    Topic("late-events", "", None, "errors", summary="Events after their window closed, as they came."),
    Topic(
        "dead-letters", "", None, "errors", retention_ms=14 * DAY_MS, summary="Records that could not be processed."
    ),
)  # fmt: skip


class Catalog(Mapping[str, Topic]):
    """The topics under the names a deployment gives them.

    prefix: before each Kafka name; names: our name -> Kafka name (wins over the prefix); partitions: of every keyed
    topic, the single-partition ones excepted. Raises KeyError for a name in `names` that is not ours, ValueError where
    two topics would share a Kafka name.
    """

    def __init__(self, prefix: str = "", names: Mapping[str, str] | None = None, partitions: int | None = None) -> None:
        names = dict(names or {})
        known = {topic.name for topic in TOPICS}
        if unknown := sorted(set(names) - known):
            raise KeyError(f"no topic {', '.join(unknown)} in the contract; there are {', '.join(sorted(known))}")
        self._topics = {
            topic.name: replace(
                topic,
                kafka_name=names.get(topic.name, prefix + topic.name),
                partitions=partitions if partitions and topic.partitions > 1 else topic.partitions,
            )
            for topic in TOPICS
        }
        self._by_kafka_name = {topic.kafka_name: topic for topic in self._topics.values()}
        if len(self._by_kafka_name) < len(self._topics):
            raise ValueError("two topics of the contract have the same name on the broker")

    def __getitem__(self, name: str) -> Topic:
        return self._topics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._topics)

    def __len__(self) -> int:
        return len(self._topics)

    def by_kafka_name(self, name: str) -> Topic | None:
        """The topic that has this name on the broker, or None."""
        return self._by_kafka_name.get(name)

    def groups(self) -> dict[str, list[Topic]]:
        """Co-partitioned topics by group: equal partition counts within each."""
        groups: dict[str, list[Topic]] = {}
        for topic in self._topics.values():
            if topic.group:
                groups.setdefault(topic.group, []).append(topic)
        return groups

    def mismatches(self, partitions: Mapping[str, int]) -> list[str]:
        """What is wrong with the partition counts found on a broker (Kafka name -> count), one sentence each."""
        problems = []
        for group, topics in self.groups().items():
            found = {t.kafka_name: partitions[t.kafka_name] for t in topics if t.kafka_name in partitions}
            if len(set(found.values())) > 1:
                counts = ", ".join(f"{name} has {count}" for name, count in found.items())
                problems.append(f"topics keyed by {group} need equal partition counts, but {counts}")
        return problems
