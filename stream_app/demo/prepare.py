"""Make the demo's data from the public files: `python -m stream_app.demo.prepare RETAIL_FOLDER TRADES_CSV TRAIN_OUT`.

The weights in data/model were made from TRAIN_OUT by

    tsrec train TRAIN_OUT --model gru --no-test --max-minutes 40 --seed 1 --set loss=sampled --set negatives=1024 \\
        --out stream_app/demo/data/model

Purchases: UCI Online Retail II (2009-12 to 2010-11) and Online Retail (2010-12 to 2011-12), CC BY 4.0. What lies before
REPLAY_FROM goes to TRAIN_OUT (user_id, item_id, ts), for `tsrec train`; the rest is shipped and replayed.
Trades: Binance, from the hftbacktest examples, MIT.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["main"]

DATA = Path(__file__).with_name("data")

#: The last five weeks are replayed; the model has seen nothing of them.
REPLAY_FROM = "2011-11-01"

#: Stock codes that are no goods: postage, bank charges, samples, manual entries, discounts.
NOT_GOODS = r"^(POST|D|DOT|M|BANK CHARGES|PADS|CRUK|C2|S|AMAZONFEE|B|ADJUST2?|TEST\d*|gift_\w*)$"


def purchases(folder: Path) -> pd.DataFrame:
    """Every order line of a known customer, in order of time: user, item, ts (s), quantity, price, order, title."""
    first = pd.read_parquet(folder / "online_retail_II_2009-2010.parquet").rename(
        columns={"Invoice": "order", "Price": "price", "Customer ID": "user"}
    )
    second = pd.read_parquet(folder / "online_retail_2010-2011.parquet").rename(
        columns={"InvoiceNo": "order", "UnitPrice": "price", "CustomerID": "user"}
    )
    # The two files overlap in the first days of December 2010.
    first = first[first["InvoiceDate"] < second["InvoiceDate"].min()]
    rows = pd.concat([first, second]).rename(
        columns={"StockCode": "item", "Description": "title", "Quantity": "quantity"}
    )
    rows = rows[(rows["user"] > 0) & (rows["quantity"] > 0) & (rows["price"] > 0)]
    rows["item"] = rows["item"].astype(str).str.upper()
    rows = rows[~rows["item"].str.match(NOT_GOODS)]
    rows["ts"] = pd.to_datetime(rows["InvoiceDate"]).astype("int64") // 10 ** _digits(rows["InvoiceDate"])
    rows["user"] = rows["user"].astype(np.int64)
    # Minutes are the finest time there is; the lines of an order keep their order.
    rows = rows.sort_values("ts", kind="stable").drop_duplicates(["order", "item"])
    return rows[["user", "item", "ts", "quantity", "price", "order", "title"]].reset_index(drop=True)


def _digits(dates: pd.Series) -> int:
    """Decimal digits of pandas' time unit below a second."""
    return {"s": 0, "ms": 3, "us": 6, "ns": 9}[pd.to_datetime(dates.head(1)).dt.unit]


def main(retail: Path, trades_csv: Path, train_out: Path) -> None:
    """Write the shipped files and the training log; print what went where."""
    DATA.mkdir(exist_ok=True)
    rows = purchases(retail)
    cut = pd.Timestamp(REPLAY_FROM).timestamp()
    before, after = rows[rows["ts"] < cut], rows[rows["ts"] >= cut]
    train = pd.DataFrame(
        {"user_id": "u" + before["user"].astype(str), "item_id": before["item"], "ts": before["ts"].astype(float)}
    )
    train_out.parent.mkdir(parents=True, exist_ok=True)
    train.to_parquet(train_out, index=False)
    replay = pd.DataFrame(
        {
            "user_id": ("u" + after["user"].astype(str)).astype("category"),
            "item_id": after["item"].astype("category"),
            "ts": after["ts"].astype(np.int32),
            "quantity": after["quantity"].astype(np.int32),
            "price": after["price"].astype(np.float32),
            "order_id": after["order"].astype(str).astype("category"),
        }
    )
    replay.to_parquet(DATA / "purchases.parquet", compression="zstd", index=False)
    titles = rows.dropna(subset=["title"]).groupby("item")["title"].agg(lambda t: t.str.strip().mode().iloc[0])
    prices = rows.groupby("item")["price"].median()
    catalog = pd.DataFrame({"title": titles.str.capitalize(), "price": prices.round(2)}).reset_index(names="item_id")
    catalog.to_parquet(DATA / "items.parquet", compression="zstd", index=False)
    trades = pd.read_csv(trades_csv)
    shipped = pd.DataFrame(
        {
            "symbol": (trades["market"].astype(str) + ":" + trades["symbol"].astype(str)).astype("category"),
            "ts_ms": trades["trade_time_ms"].astype(np.int64),
            "price": trades["price"].astype(float),
            "quantity": trades["quantity"].astype(float),
            "side": np.where(trades["buyer_is_maker"], "sell", "buy"),
            "trade_id": trades["trade_id"].astype(np.int64),
        }
    ).sort_values("ts_ms", kind="stable")
    shipped["side"] = shipped["side"].astype("category")
    shipped.to_parquet(DATA / "trades.parquet", compression="zstd", index=False)
    print(f"{train_out}: {len(train):,} order lines to learn from")
    for name in ("purchases", "items", "trades"):
        path = DATA / f"{name}.parquet"
        print(f"{path.name}: {len(pd.read_parquet(path)):,} rows, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
