"""The shared data sets as the CSV files that `tsrec evaluate ranking` reads.

    python bench/ranking_data.py NAME [--data ../shared/data] [--out DIR]

NAME: beauty, ml-1m, ml-100k, diginetica, yoochoose, online-retail, otto, taobao, mind, mind-histories, or all. Prints
the command that evaluates each file.

What is done to each, beyond naming the columns:
- diginetica: its test is given as prefixes with labels. The longest prefix of each session and its label are the
  session; every later item of it is then a question, the same 60,858 questions as the prefixes. There are no times,
  only the order of the sessions: training sessions are spread evenly over the 145 days the original covers, test
  sessions over one day after.
- yoochoose: train, then test (8 April 2014) in one file.
- online-retail: both years; cancelled invoices (C...), lines without a customer, and codes that are no article
  (postage, fees: without five digits) left out; one row an article and invoice.
- mind: the clicked news of the impressions. mind-histories: what each reader had read before, without times.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

#: Days that the training sessions of Diginetica cover (January to the end of May 2016).
DIGINETICA_DAYS = 145


def beauty(data: Path) -> pa.Table:
    users, items = [], []
    with gzip.open(data / "amazon-beauty" / "Beauty.txt.gz", "rt") as lines:
        for line in lines:
            user, *taken = line.split()
            users += [user] * len(taken)
            items += taken
    return pa.table({"user_id": users, "item_id": items})


def ml_1m(data: Path) -> pa.Table:
    with gzip.open(data / "ml-1m" / "ml-1m.txt.gz", "rt") as lines:
        rows = [line.split() for line in lines]
    return pa.table({"user_id": [row[0] for row in rows], "item_id": [row[1] for row in rows]})


def ml_100k(data: Path) -> pa.Table:
    with gzip.open(data / "ml-100k" / "ml-100k.inter.gz", "rt") as lines:
        next(lines)
        rows = sorted((line.split("\t") for line in lines), key=lambda row: float(row[3]))
    return pa.table(
        {
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "ts": [float(row[3]) for row in rows],
        }
    )


def diginetica(data: Path) -> pa.Table:
    with gzip.open(data / "diginetica" / "train_sessions.txt.gz", "rt") as lines:
        train = [line.split() for line in lines]
    with gzip.open(data / "diginetica" / "test_prefix_label.tsv.gz", "rt") as lines:
        test = list(_whole_sessions([(*line.split("\t"),) for line in lines]))
    starts = np.concatenate(
        [
            np.arange(len(train)) * (DIGINETICA_DAYS * 86400 - 2 * 3600) / len(train),
            DIGINETICA_DAYS * 86400 + np.arange(len(test)) * 80000.0 / len(test),
        ]
    )
    sessions = train + test
    lengths = [len(session) for session in sessions]
    places = np.concatenate([np.arange(length) for length in lengths])
    return pa.table(
        {
            "session_id": np.repeat(np.arange(len(sessions)), lengths),
            "item_id": [item for session in sessions for item in session],
            "ts": np.repeat(starts, lengths) + places * 20.0,
        }
    )


def _whole_sessions(pairs: list[tuple[str, ...]]) -> Iterator[list[str]]:
    """Sessions of pairs (prefix, label), which come longest prefix first."""
    expected: list[str] = []
    for prefix, label in pairs:
        session = [*prefix.split(), label.strip()]
        if session != expected:
            yield session
        expected = session[:-1]


def yoochoose(data: Path) -> pa.Table:
    parts = []
    for name in ("train_full", "test"):
        with gzip.open(data / "yoochoose" / f"yoochoose-clicks-100k_{name}.txt.gz") as file:
            parts.append(pa.csv.read_csv(file, parse_options=pa.csv.ParseOptions(delimiter="\t")))
    return pa.concat_tables(parts).rename_columns(["session_id", "item_id", "ts"])


def online_retail(data: Path) -> pa.Table:
    parts = []
    for name, columns in (
        ("online_retail_II_2009-2010", ["Invoice", "StockCode", "Quantity", "InvoiceDate", "Customer ID"]),
        ("online_retail_2010-2011", ["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "CustomerID"]),
    ):
        table = pa.parquet.read_table(data / "online-retail" / f"{name}.parquet", columns=columns)
        table = table.rename_columns(["invoice", "item_id", "quantity", "ts", "user_id"])
        text = [pc.cast(table[column], pa.string()) for column in ("invoice", "item_id", "ts")]
        customer = pc.fill_null(pc.cast(table["user_id"], pa.int64()), 0)
        parts.append(
            pa.table([*text, table["quantity"], customer], ["invoice", "item_id", "ts", "quantity", "user_id"])
        )
    table = pa.concat_tables(parts)
    sale = pc.and_(
        pc.and_(pc.greater(table["quantity"], 0), pc.greater(table["user_id"], 0)),
        pc.and_(
            pc.invert(pc.starts_with(table["invoice"], "C")), pc.match_substring_regex(table["item_id"], r"^\d{5}")
        ),
    )
    table = table.filter(sale)
    _, first = np.unique(
        np.char.add(np.char.add(table["invoice"].to_numpy().astype(str), "|"), table["item_id"].to_numpy().astype(str)),
        return_index=True,
    )
    return table.take(np.sort(first)).select(["user_id", "item_id", "ts"])


def otto(data: Path) -> pa.Table:
    with (data / "otto" / "train.jsonl").open() as lines:
        sessions = [json.loads(line) for line in lines]
    events = [(session["session"], event["aid"], event["ts"]) for session in sessions for event in session["events"]]
    return _columns(["session_id", "item_id", "ts"], events)


def taobao(data: Path) -> pa.Table:
    with gzip.open(data / "taobao" / "UserBehavior.csv.gz", "rt") as lines:
        rows = [line.strip().split(",") for line in lines]
    return _columns(["user_id", "item_id", "ts"], [(row[0], row[1], int(row[4])) for row in rows])


def _impressions(data: Path) -> list[tuple[str, float, list[str], list[str]]]:
    """Reader, time, news read before, news clicked."""
    with gzip.open(data / "mind" / "behaviors.tsv.gz", "rt") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return [
        (
            row[1],
            datetime.strptime(row[2] + " +0000", "%m/%d/%Y %I:%M:%S %p %z").timestamp(),
            row[3].split(),
            [shown[:-2] for shown in row[4].split() if shown.endswith("-1")],
        )
        for row in rows
    ]


def mind(data: Path) -> pa.Table:
    clicks = [(reader, item, ts) for reader, ts, _, clicked in _impressions(data) for item in clicked]
    return _columns(["user_id", "item_id", "ts"], sorted(clicks, key=lambda click: click[2]))


def mind_histories(data: Path) -> pa.Table:
    before = {reader: read for reader, _, read, _ in reversed(_impressions(data))}  # of the first impression
    return _columns(["user_id", "item_id"], [(reader, item) for reader, read in before.items() for item in read])


def _columns(names: list[str], rows: Sequence[tuple[object, ...]]) -> pa.Table:
    return pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))


SETS: dict[str, tuple[Callable[[Path], pa.Table], str]] = {
    "beauty": (beauty, "loo"),
    "ml-1m": (ml_1m, "loo"),
    "ml-100k": (ml_100k, "temporal"),
    "diginetica": (diginetica, "session"),
    "yoochoose": (yoochoose, "session"),
    "online-retail": (online_retail, "temporal"),
    "otto": (otto, "session"),
    "taobao": (taobao, "temporal"),
    "mind": (mind, "temporal"),
    "mind-histories": (mind_histories, "loo"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*SETS, "all"])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("ranking-data"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in SETS if options.name == "all" else [options.name]:
        convert, protocol = SETS[name]
        path = options.out / f"{name}.csv"
        pa.csv.write_csv(convert(options.data), path)
        print(f"tsrec evaluate ranking {path} --protocol {protocol}")


if __name__ == "__main__":
    main()
