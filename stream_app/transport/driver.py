"""The transport that Faust finds under the scheme `tsrec://`."""

from __future__ import annotations

from typing import Any

from faust.transport.drivers import aiokafka as driver

from stream_app.transport.consumer import Consumer
from stream_app.transport.transactions import TransactionManager

__all__ = ["Producer", "Transport"]


class Producer(driver.Producer):
    """Faust's producer; what leaves in batches goes through the `Outbox`, over the same connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Faust keeps these on the class, so two apps in one process would share their transactions.
        self._transaction_producers: dict[str, Any] = {}
        self._trn_locks: dict[str, Any] = {}


class Transport(driver.Transport):
    """aiokafka with whole batches in, whole batches out, and commits by checkpoint."""

    Consumer = Consumer
    Producer = Producer
    TransactionManager = TransactionManager
    default_port = 9092
