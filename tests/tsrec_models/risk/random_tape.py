"""A random tape and limits so low that it crosses them all, shared by the tests of surveillance."""

from __future__ import annotations

import numpy as np

from tsrec_models.risk.surveillance import Settings, SignalBatch, Trades
from tsrec_models.risk.surveillance_settings import KINDS

#: Low limits, so that a few hundred random trades cross them all.
LOW = Settings(
    velocity_limit=8,
    velocity_ratio=2.0,
    structuring_limit=1000.0,
    structuring_raise=2.0,
    trade_limit=4000.0,
    concentration_exposure=500.0,
    loss_limit=300.0,
    drawdown_limit=200.0,
    wash_raise=1.0,
    spike_move_bps=1.0,
    spike_sigmas=1.0,
    large_warmup=64,
    large_per_day=1e6,
    large_tail=0.05,
)


def trades(rows: list[tuple], start: int = 0) -> Trades:
    """Columns of (account, symbol, side, price, quantity, ts)."""
    a, s, side, price, quantity, ts = zip(*rows, strict=True) if rows else ((),) * 6
    return Trades(
        np.array(a, np.int64),
        np.array(s, np.int64),
        np.array(side, np.int8),
        np.array(price, np.float64),
        np.array(quantity, np.float64),
        np.array(ts, np.float64),
        np.arange(start, start + len(rows)),
    )


def random_rows(seed: int, n: int, n_accounts: int = 6, rate: float = 1.0) -> list[tuple]:
    rng = np.random.default_rng(seed)
    ts = 1e6 + np.cumsum(rng.exponential(1 / rate, n))
    ts = np.where(rng.random(n) < 0.05, ts - rng.uniform(0, 90, n), ts)  # some come late
    price = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, n)))
    size = rng.choice([1.0, 2.0, 9.3, 9.7, 40.0], n)
    columns = (
        rng.integers(-1, n_accounts, n),
        rng.integers(0, 3, n),
        rng.choice([-1, 1, 0], n, p=[0.45, 0.45, 0.1]),
        price,
        size,
        ts,
    )
    return list(zip(*(c.tolist() for c in columns), strict=True))


def found(batch: SignalBatch, kind: str) -> list[tuple[int, int, float]]:
    """(place of the trade, 1 raises or 0 clears, value) of the signals of a kind."""
    rows = batch.table[batch.table["kind"] == KINDS.index(kind)]
    return [(int(r["at"]), int(r["is_raise"]), float(r["value"])) for r in rows]
