"""Card payments at the card: its own features are stepped, and the payment goes on to its merchant with them."""

from __future__ import annotations

import base64

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_app.agents.origins import origin_headers
from stream_app.agents.payment_clocks import PaymentClocks
from stream_app.batch import Batch, BatchTopic
from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from topics.columns import encode_columns
from topics.events import MerchantTransaction
from topics.spans import Spans
from tsrec_models.risk.fraud_kernel import CARD_FEATURES
from tsrec_models.risk.fraud_sides import CARD_WIDTH, card_side, initial_card, label_cards

__all__ = ["CardLabels", "CardPayments", "card_columns", "card_features_of", "key_codes"]

#: float64 of a payment's card features on the way, padded so that their base64 has a length of its own and no `=`.
_PADDED = 18
_TEXT = _PADDED * 8 // 3 * 4


def card_columns() -> Columns:
    """A card: 2 KB."""
    return Columns(begun=Column(np.bool_), state=Column(np.float64, (CARD_WIDTH,)))


class CardPayments:
    """The agent of `card-transactions`: card features -> `transactions-by-merchant`."""

    def __init__(self, cards: Table, output: BatchTopic, clocks: PaymentClocks) -> None:
        self.cards = cards
        self.output = output
        self.clocks = clocks

    async def __call__(self, batch: Batch) -> None:
        """Step each payment's card; payments that a card has had before a crash were sent on then."""
        self.clocks.before(batch)
        self._send_on(batch)
        self.clocks.after(batch)

    def _send_on(self, batch: Batch) -> None:
        shard = self.cards.shard(batch.partition)
        batch, rows = _admitted(shard, self.cards.source(batch.topic.name), batch)
        if not len(batch):
            return
        paid = batch.columns
        features = card_side(shard.column("state"), rows, key_codes(paid.merchant_id), paid.ts, paid.amount)
        values = encode_columns(
            MerchantTransaction, account_id=paid.account_id, merchant_id=paid.merchant_id, ts=paid.ts,
            amount=paid.amount, card=_text(features), source=_sources(batch), transaction_id=paid.transaction_id,
        )  # fmt: skip
        batch.send(
            self.output, paid.merchant_id, values, rekey=True, timestamps_ms=batch.records.timestamps_ms,
            headers=origin_headers(batch.partition, batch.offsets),
        )  # fmt: skip


class CardLabels:
    """The agent of `fraud-labels`: what a payment turned out to be, for its card and on to its merchant."""

    def __init__(self, cards: Table, output: BatchTopic) -> None:
        self.cards = cards
        self.output = output

    async def __call__(self, batch: Batch) -> None:
        """Take labels in at the card, and pass them on."""
        shard = self.cards.shard(batch.partition)
        batch, rows = _admitted(shard, self.cards.source(batch.topic.name), batch)
        if not len(batch):
            return
        told = batch.columns
        is_fraud = np.asarray(told.is_fraud) > 0
        known = np.where(told.present("known_ts"), told.known_ts, batch.records.timestamps_ms / 1e3)
        ratio = label_cards(shard.column("state"), rows, told.amount, is_fraud, known)
        values = encode_columns(
            MerchantTransaction, account_id=told.account_id, merchant_id=told.merchant_id, ts=told.ts,
            amount=np.nan_to_num(told.amount), card="", source=_sources(batch), transaction_id=told.transaction_id,
            is_fraud=is_fraud, known_ts=known, amount_to_usual=ratio,
        )  # fmt: skip
        batch.send(
            self.output, told.merchant_id, values, rekey=True, timestamps_ms=batch.records.timestamps_ms,
            # Offsets of two topics: the labels' partitions are counted on from the payments'.
            headers=origin_headers(batch.partition + batch.topic.partitions, batch.offsets),
        )  # fmt: skip


def _admitted(shard: Shard, source: int, batch: Batch) -> tuple[Batch, NDArray[np.int64]]:
    rows, fresh = shard.admit(batch.columns.account_id, source, batch.offsets, batch.columns.ts)
    batch, rows = batch.only(fresh), rows[fresh]
    begun = shard.column("begun")
    new = np.unique(rows[~begun[rows]])
    shard.column("state")[new] = initial_card()
    begun[new] = True
    return batch, rows


def _sources(batch: Batch) -> Spans:
    return Spans.of([batch.source(i).encode() for i in range(len(batch))])


def _text(features: NDArray[np.float64]) -> Spans:
    """Features [n, CARD_FEATURES] as text, one a row."""
    padded = np.zeros((len(features), _PADDED), "<f8")
    padded[:, :CARD_FEATURES] = features
    data = np.frombuffer(base64.b64encode(padded.tobytes()), np.uint8)
    start = np.arange(len(features), dtype=np.int64) * _TEXT
    return Spans(data, start, start + _TEXT)


def card_features_of(texts: Spans) -> NDArray[np.float64]:
    """Features [n, CARD_FEATURES] from their text; NaN where there is none, as with labels."""
    out = np.full((len(texts), CARD_FEATURES), np.nan)
    fits = np.flatnonzero(texts.end - texts.start == _TEXT)
    if len(fits):
        data = texts.data[texts.start[fits][:, None] + np.arange(_TEXT)]
        values = np.frombuffer(base64.b64decode(data.tobytes()), "<f8").reshape(-1, _PADDED)
        out[fits] = values[:, :CARD_FEATURES]
    return out


def key_codes(keys: Spans) -> NDArray[np.int64]:
    """A number for each key, the same for the same key anywhere (FNV-1a, 63 bits)."""
    out = np.empty(len(keys), np.int64)
    _codes(keys.data, keys.start, keys.end, out)
    return out


@njit(cache=True)
def _codes(data, start, end, out):  # type: ignore[no-untyped-def,untyped-decorator]  # pragma: no cover
    for i in range(len(start)):
        code = np.uint64(0xCBF29CE484222325)
        for k in range(start[i], end[i]):
            code = (code ^ np.uint64(data[k])) * np.uint64(0x100000001B3)
        out[i] = np.int64(code >> np.uint64(1))
