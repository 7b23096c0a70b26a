"""Windowed features of card transactions, stepped with each transaction and each label.

Windows are sums over buckets of event time. A row keeps the cumulative sums at the end of each bucket, so that any
window is one difference, whatever its length and however busy the card.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "ACCOUNT",
    "CARD_FEATURES",
    "FEATURES",
    "MERCHANT",
    "RISK_FEATURES",
    "Table",
    "label",
    "label_account",
    "label_merchant",
    "replay",
    "step",
    "step_account",
    "step_merchant",
    "update",
]

Table = NDArray[np.void]

DAY_S = 86_400.0
#: Buckets a day: a window is right to six hours at its far end.
PER_DAY = 4
BUCKET_S = DAY_S / PER_DAY
#: Days a label takes at most to be known; rates of fraud are over transactions older than that.
DELAY_DAYS = 7
#: Buckets remembered: 30 days of an account; 30 days before the delay, of a merchant.
ACCOUNT_RING = 30 * PER_DAY + 2
MERCHANT_RING = (30 + DELAY_DAYS) * PER_DAY + 2
#: Merchants that an account is known to use: its latest different ones.
FAMILIAR = 8
#: An amount so many times an account's usual one is odd. Odd amounts are forgotten by halves in five days.
ODD_RATIO, ODD_HALF_LIFE_S = 2.5, 5 * DAY_S
#: Amounts and labels are averaged over about so many of the latest.
USUAL_MEMORY, LABEL_MEMORY = 60.0, 5.0

FEATURES = (
    "amount",
    "hour",
    "is_night",
    "is_weekend",
    "account_count_1d",
    "account_count_7d",
    "account_count_30d",
    "account_mean_1d",
    "account_mean_7d",
    "account_mean_30d",
    "account_rate",
    "amount_to_usual",
    "amount_deviation",
    "odd_amounts",
    "since_last",
    "new_merchant",
    "account_frauds",
    "merchant_count_1d",
    "merchant_spike",
    "merchant_amount_deviation",
    "merchant_known_1d",
    "merchant_known_7d",
    "merchant_known_30d",
    "merchant_risk_1d",
    "merchant_risk_7d",
    "merchant_risk_30d",
    "merchant_lately",
    "merchant_lately_ordinary",
    "merchant_run",
    "merchant_run_age",
    "merchant_since_fraud",
)
#: So many of them, the first, are of the card; the rest of the merchant.
CARD_FEATURES = 17
#: Features that must not lower a score as they rise.
RISK_FEATURES = (
    "merchant_risk_1d",
    "merchant_risk_7d",
    "merchant_risk_30d",
    "merchant_lately_ordinary",
    "merchant_run",
)

ACCOUNT = np.dtype(
    [
        ("bucket", "i8"),
        ("first_ts", "f8"),
        ("last_ts", "f8"),
        ("count", "f8"),
        ("amount", "f8"),
        ("counts", "f8", (ACCOUNT_RING,)),
        ("amounts", "f8", (ACCOUNT_RING,)),
        ("usual", "f8"),
        ("spread", "f8"),
        ("odd", "f8"),
        ("odd_ts", "f8"),
        ("frauds", "f8"),
        ("frauds_ts", "f8"),
        ("familiar", "i8", (FAMILIAR,)),
        ("familiar_head", "i8"),
    ],
    align=True,
)
MERCHANT = np.dtype(
    [
        ("bucket", "i8"),
        ("first_ts", "f8"),
        ("count", "f8"),
        ("frauds", "f8"),
        ("counts", "f8", (MERCHANT_RING,)),
        ("fraud_counts", "f8", (MERCHANT_RING,)),
        ("log_mean", "f8"),
        ("log_var", "f8"),
        ("lately", "f8"),
        ("lately_ordinary", "f8"),
        ("run", "f8"),
        ("run_ts", "f8"),
        ("fraud_ts", "f8"),
    ],
    align=True,
)


@njit(cache=True)
def _hold(ring: NDArray[np.float64], last: int, bucket: int, total: float) -> None:
    """Close the buckets from `last` up to `bucket`: each ends with the total so far."""
    size = len(ring)
    for k in range(max(last, bucket - size), bucket):
        ring[k % size] = total


@njit(cache=True)
def _before(ring: NDArray[np.float64], bucket: int) -> float:
    """The total at the end of `bucket`."""
    return float(ring[bucket % len(ring)])


@njit(cache=True)
def step_account(who: Any, merchant: int, ts: float, amount: float, out: NDArray[np.float64]) -> None:
    """The first CARD_FEATURES of a transaction into `out`, from it and what the card did before; then take it in.

    `merchant` is any number that stands for the merchant with this card. Times must not fall.
    """
    bucket: Any = np.int64(math.floor(ts / BUCKET_S))
    seen = who.count
    if seen == 0.0:
        who.bucket, who.first_ts, who.last_ts = bucket, ts, ts
    if bucket > who.bucket:
        _hold(who.counts, who.bucket, bucket, who.count)
        _hold(who.amounts, who.bucket, bucket, who.amount)
        who.bucket = bucket
    who.count += 1.0
    who.amount += amount

    day_s = ts - math.floor(ts / DAY_S) * DAY_S
    out[0] = amount
    out[1] = day_s / 3600.0
    out[2] = 1.0 if day_s < 7 * 3600.0 else 0.0
    out[3] = 1.0 if (np.int64(math.floor(ts / DAY_S)) + 3) % 7 >= 5 else 0.0
    for k, days in enumerate((1, 7, 30)):
        n = who.count - _before(who.counts, bucket - days * PER_DAY)
        out[4 + k] = n
        out[7 + k] = (who.amount - _before(who.amounts, bucket - days * PER_DAY)) / n
    lived = min(30.0, max(1.0, (ts - who.first_ts) / DAY_S))
    out[10] = out[4] / (out[6] / lived)
    # An account of nothing but zero amounts has no usual one to measure by.
    out[11] = amount / who.usual if seen >= 2.0 and who.usual > 0.0 else np.nan
    spread = max(1.25 * who.spread, 0.05 * who.usual)
    out[12] = (amount - who.usual) / spread if seen >= 5.0 and spread > 0.0 else np.nan
    odd = who.odd * math.exp2((who.odd_ts - ts) / ODD_HALF_LIFE_S)
    out[13] = odd
    out[14] = math.log1p(max(0.0, ts - who.last_ts)) if seen > 0.0 else np.nan
    known = False
    for k in range(FAMILIAR):
        known = known or who.familiar[k] == merchant
    out[15] = 0.0 if known else 1.0
    out[16] = who.frauds * math.exp2((who.frauds_ts - ts) / (2 * ODD_HALF_LIFE_S))

    if seen >= 2.0 and amount > ODD_RATIO * who.usual:
        odd += 1.0
    who.odd, who.odd_ts, who.last_ts = odd, ts, ts
    # One odd amount must not become usual: it counts as three times the usual one at most.
    bounded = min(amount, 3.0 * who.usual) if seen >= 3.0 else amount
    rate = max(1.0 / (seen + 1.0), 1.0 / USUAL_MEMORY)
    who.usual += rate * (bounded - who.usual)
    who.spread += rate * (abs(bounded - who.usual) - who.spread)
    if not known:
        who.familiar[who.familiar_head % FAMILIAR] = merchant
        who.familiar_head += 1


@njit(cache=True)
def step_merchant(where: Any, ts: float, amount: float, out: NDArray[np.float64]) -> None:
    """The features from CARD_FEATURES on, from the transaction and what the merchant saw before; then take it in."""
    bucket: Any = np.int64(math.floor(ts / BUCKET_S))
    seen = where.count
    if seen == 0.0:
        where.bucket, where.first_ts = bucket, ts
    if bucket > where.bucket:
        _hold(where.counts, where.bucket, bucket, where.count)
        _hold(where.fraud_counts, where.bucket, bucket, where.frauds)
        where.bucket = bucket
    where.count += 1.0

    out[17] = where.count - _before(where.counts, bucket - PER_DAY)
    lived = min(30.0, max(1.0, (ts - where.first_ts) / DAY_S))
    out[18] = out[17] / ((where.count - _before(where.counts, bucket - 30 * PER_DAY)) / lived)
    log_amount = math.log(max(amount, 0.01))
    out[19] = (log_amount - where.log_mean) / math.sqrt(where.log_var + 0.01) if seen >= 5.0 else np.nan
    end = bucket - DELAY_DAYS * PER_DAY - 1
    for k, days in enumerate((1, 7, 30)):
        start = max(end - days * PER_DAY, bucket - MERCHANT_RING)
        n = _before(where.counts, end) - _before(where.counts, start)
        out[20 + k] = n
        frauds = _before(where.fraud_counts, end) - _before(where.fraud_counts, start)
        out[23 + k] = frauds / n if n > 0.0 else 0.0
    out[26] = where.lately
    out[27] = where.lately_ordinary
    out[28] = where.run
    out[29] = (ts - where.run_ts) / DAY_S if where.run > 0.0 else np.nan
    out[30] = (ts - where.fraud_ts) / DAY_S if where.frauds > 0.0 else np.nan

    rate = max(1.0 / (seen + 1.0), 1.0 / USUAL_MEMORY)
    apart = log_amount - where.log_mean
    where.log_mean += rate * apart
    where.log_var += rate * (apart * apart - where.log_var)


@njit(cache=True)
def step(acc: Table, mer: Table, a: int, m: int, ts: float, amount: float, out: NDArray[np.float64]) -> None:
    """Features [len(FEATURES)] of a transaction, from it and what came before; then take it in. Times must not fall."""
    step_account(acc[a], m, ts, amount, out)
    step_merchant(mer[m], ts, amount, out)


@njit(cache=True)
def label_account(who: Any, is_fraud: bool, known_ts: float) -> None:
    """Take a label of one of the card's transactions, known at `known_ts`."""
    if is_fraud:
        who.frauds = who.frauds * math.exp2((who.frauds_ts - known_ts) / (2 * ODD_HALF_LIFE_S)) + 1.0
        who.frauds_ts = known_ts


@njit(cache=True)
def label_merchant(where: Any, ts: float, is_fraud: bool, amount_to_usual: float) -> None:
    """Take a label of a transaction of time `ts` at the merchant. `amount_to_usual` is the feature it had: a fraud of
    an ordinary amount speaks of the merchant, one of an odd amount of the card."""
    hit = 1.0 if is_fraud else 0.0
    ordinary = hit if not amount_to_usual > ODD_RATIO else 0.0
    where.lately += (hit - where.lately) / LABEL_MEMORY
    where.lately_ordinary += (ordinary - where.lately_ordinary) / LABEL_MEMORY
    if not is_fraud:
        where.run = 0.0
        return
    if where.run == 0.0:
        where.run_ts = ts
    where.run += 1.0
    where.fraud_ts = ts
    where.frauds += 1.0
    bucket: Any = np.int64(math.floor(ts / BUCKET_S))
    for k in range(max(bucket, where.bucket - MERCHANT_RING), where.bucket):
        where.fraud_counts[k % MERCHANT_RING] += 1.0


@njit(cache=True)
def label(
    acc: Table, mer: Table, a: int, m: int, ts: float, is_fraud: bool, amount_to_usual: float, known_ts: float
) -> None:
    """Take the label of a transaction of time `ts`, known at `known_ts`, at both its card and its merchant."""
    label_merchant(mer[m], ts, is_fraud, amount_to_usual)
    label_account(acc[a], is_fraud, known_ts)


@njit(cache=True)
def update(
    acc: Table,
    mer: Table,
    account: NDArray[np.int64],
    merchant: NDArray[np.int64],
    ts: NDArray[np.float64],
    amount: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """`step` for each transaction of a micro-batch, in order; `out` [n, len(FEATURES)]."""
    for i in range(len(ts)):
        step(acc, mer, account[i], merchant[i], ts[i], amount[i], out[i])


@njit(cache=True)
def replay(
    acc: Table,
    mer: Table,
    account: NDArray[np.int64],
    merchant: NDArray[np.int64],
    ts: NDArray[np.float64],
    amount: NDArray[np.float64],
    is_fraud: NDArray[np.bool_],
    delay_s: float,
    out: NDArray[np.float64],
) -> None:
    """A past in order of time, each label becoming known `delay_s` after its transaction and not before."""
    due = 0
    for i in range(len(ts)):
        while due < i and ts[due] + delay_s <= ts[i]:
            label(acc, mer, account[due], merchant[due], ts[due], is_fraud[due], out[due, 11], ts[due] + delay_s)
            due += 1
        step(acc, mer, account[i], merchant[i], ts[i], amount[i], out[i])
