"""Planted cases in real trades: how many are found, how many false alerts come, and how fast.

The trades are those of `../shared/data/binance-trades` (78,638, six markets, eleven minutes). They carry no accounts:
each order gets one of `--accounts` synthetic accounts at random, with log-normal activity, so every alert by account
that was not planted is false. Planted, at random times and with random sizes, into accounts of their own: wash trades
(2-4 pairs within a minute), structuring (4-6 amounts just below the limit), bursts of orders, price jumps of 1 % (in a
copy of a market, so that the real ones stay as they are) and orders of twenty times the largest of their market.

    python bench/surveillance_planted.py            # JSON lines; --seeds 5 --accounts 2000
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tsrec_models.risk.alerts_book import AlertBook  # noqa: E402
from tsrec_models.risk.alerts_cap import RateCap  # noqa: E402
from tsrec_models.risk.surveillance import Surveillance, Trades  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "binance-trades" / "trades.csv.gz"
UNCAPPED = RateCap(per_kind=10**6, total=10**6, critical=10**6)
COLUMNS = ["ts", "symbol", "account", "side", "price", "quantity"]


def real_trades() -> pd.DataFrame:
    """Trades in order of time; quantities of the coin-margined contracts turned into coins."""
    d = pd.read_csv(DATA).sort_values("trade_time_ms", kind="stable").reset_index(drop=True)
    contract = np.where(d.symbol.str.startswith("BTC"), 100.0, 10.0)
    return pd.DataFrame(
        {
            "ts": d.trade_time_ms / 1e3,
            "symbol": d.market + ":" + d.symbol,
            "account": "",
            "side": np.where(d.buyer_is_maker, -1, 1),
            "price": d.price,
            "quantity": np.where(d.market == "cm", d.quantity * contract / d.price, d.quantity),
        }
    )


def assign_accounts(d: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """One synthetic account an order (fills of one time, market and side), activity log-normal."""
    weight = rng.lognormal(0, 1.5, n)
    order = pd.factorize(pd.Series(list(zip(d.symbol, d.ts, d.side, strict=True))))[0]
    chosen = rng.choice(n, order.max() + 1, p=weight / weight.sum())
    return d.assign(account=[f"acc-{k}" for k in chosen[order]])


def price_near(d: pd.DataFrame, symbol: str, ts: float) -> float:
    past = d[(d.symbol == symbol) & (d.ts <= ts)]
    return float(past.price.iloc[-1])


def plant(d: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Rows to add and the (kind, subject) that each case is to raise."""
    spot = ["spot:BTCUSDT", "spot:ETHUSDT", "usdm:BTCUSDT", "usdm:ETHUSDT"]
    start, end = d.ts.min() + 60, d.ts[d.symbol == "usdm:BTCUSDT"].max() - 90
    rows: list[tuple[float, str, str, int, float, float]] = []
    truth: list[tuple[str, str]] = []
    for k in range(8):
        symbol, account, ts = rng.choice(spot), f"washer-{k}", rng.uniform(start, end)
        for _ in range(int(rng.integers(2, 5))):
            price, size = price_near(d, symbol, ts), round(float(rng.lognormal(-2, 1)) + 0.01, 3)
            lag = rng.uniform(0.1, 8)
            rows.append((ts, symbol, account, 1, price, size))
            rows.append((ts + lag, symbol, account, -1, price * (1 + rng.uniform(-1, 1) * 1e-4), size))
            ts += lag + rng.uniform(0.5, 10)
        truth.append(("wash_trade", account))
    for k in range(8):
        symbol, account, ts = rng.choice(spot), f"structurer-{k}", rng.uniform(start, start + 60)
        for _ in range(int(rng.integers(4, 7))):
            price = price_near(d, symbol, ts)
            rows.append((ts, symbol, account, 1, price, rng.uniform(9_100, 9_990) / price))
            ts += rng.uniform(5, 40)
        truth.append(("structuring", account))
    for k in range(8):
        symbol, account, ts = rng.choice(spot), f"burst-{k}", rng.uniform(start, end)
        price = price_near(d, symbol, ts)
        for at in np.sort(rng.uniform(0, rng.uniform(5, 30), int(rng.integers(80, 200)))):
            size = round(float(rng.lognormal(-5, 0.5)) + 0.0001, 5)
            rows.append((ts + at, symbol, account, int(rng.choice([-1, 1])), price, size))
        truth.append(("velocity", account))
    for k, symbol in enumerate(spot):
        jumper = f"jump-{k}:{symbol}"
        copy = d[d.symbol == symbol].assign(symbol=jumper, account="")
        at = rng.uniform(start + 120, end)
        factor = np.where(copy.ts >= at, 1 + rng.choice([-1, 1]) * 0.01, 1.0)
        rows += list(copy.assign(price=copy.price * factor)[COLUMNS].itertuples(index=False, name=None))
        truth.append(("price_spike", jumper))
        big = float(d[d.symbol == symbol].quantity.max()) * 20
        rows.append((rng.uniform(start + 120, end), symbol, "", 1, price_near(d, symbol, at), big))
        truth.append(("large_trade", symbol))
    return pd.DataFrame(rows, columns=COLUMNS), truth


def to_trades(d: pd.DataFrame) -> tuple[Trades, pd.Index, pd.Index]:
    symbol, symbols = pd.factorize(d.symbol)
    account, accounts = pd.factorize(d.account.replace("", None))  # -1 where there is none
    return (
        Trades(
            account.astype(np.int64),
            symbol.astype(np.int64),
            d.side.to_numpy(np.int8),
            d.price.to_numpy(np.float64),
            d.quantity.to_numpy(np.float64),
            d.ts.to_numpy(np.float64),
            np.arange(len(d)),
        ),
        accounts,
        symbols,
    )


def alerts_of(d: pd.DataFrame) -> list:
    trades, accounts, symbols = to_trades(d)
    watch = Surveillance()
    book = AlertBook(watch.settings.rules(), UNCAPPED)
    out = []
    for signal in watch.update(trades).signals(lambda i: str(accounts[i]), lambda i: str(symbols[i])):
        out += book.advance(signal.ts, signal.source) + book.observe(signal)
    return [alert for alert in out if alert.status == "firing"]


def speed(d: pd.DataFrame, repeats: int) -> float:
    """Trades a second of the kernels, best of `repeats`, micro-batches of 4,096."""
    trades, _, _ = to_trades(d)
    best = np.inf
    for _ in range(repeats):
        watch = Surveillance()
        begin = time.perf_counter()
        for k in range(0, len(d), 4096):
            watch.update(Trades(*(getattr(trades, name)[k : k + 4096] for name in Trades.__slots__)))
        best = min(best, time.perf_counter() - begin)
    return len(d) / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--show", action="store_true", help="print the alerts on the trades as they are")
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"no data at {DATA}")
    real = real_trades()
    as_is = alerts_of(real)
    print(json.dumps({"run": "as they are, no accounts", "trades": len(real), "alerts": len(as_is)}))
    if args.show:
        for alert in as_is:
            print(json.dumps({"alert": alert.message, "severity": alert.severity, "kind": alert.kind}))
    expected, found, false, seen, by_kind = 0, 0, 0, 0, {}
    market = {(a.kind, a.subject) for a in as_is}
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        owned = assign_accounts(real, args.accounts, rng)
        added, truth = plant(owned, rng)
        full = pd.concat([owned, added]).sort_values("ts", kind="stable").reset_index(drop=True)
        raised = {(a.kind, a.subject) for a in alerts_of(full)}
        # An order that is large in the trades as they are is large in their copy too: neither planted nor false.
        extra = {x for x in raised - set(truth) - market if not x[1].startswith("jump-")}
        copies = {x for x in raised - set(truth) if x[1].startswith("jump-") and x[0] != "large_trade"}
        for kind, subject in truth:
            hit = (kind, subject) in raised
            by_kind.setdefault(kind, [0, 0])
            by_kind[kind][0] += hit
            by_kind[kind][1] += 1
        wrong = {x for x in extra | copies if not x[1].startswith(("washer-", "burst-", "structurer-"))}
        expected, found = expected + len(truth), found + sum(x in raised for x in truth)
        false, seen = false + len(wrong), seen + len(owned)  # copies and planted rows not counted
        missed = sorted(x for x in truth if x not in raised)
        print(json.dumps({"seed": seed, "planted": len(truth), "missed": missed, "false": sorted(wrong)}))
    print(json.dumps({"by_kind": {k: f"{a}/{b}" for k, (a, b) in sorted(by_kind.items())}}))
    owned = assign_accounts(real, args.accounts, np.random.default_rng(0))
    print(json.dumps({"trades_per_s": round(speed(owned, 5)), "accounts": args.accounts}))
    summary = {"planted": expected, "found": found, "false_per_100k": round(false / seen * 1e5, 2), "trades": seen}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
