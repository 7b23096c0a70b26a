"""The handbook's transactions through a worker: payments a second, and the same probabilities as offline.

    python bench/fraud_stream.py [--payments 200000] [--partitions 4] [--workers 1]

A model is fitted on a week of the past (features with labels seven days late, as `tsrec evaluate fraud --save` does);
then the payments of the days after are sent to `card-transactions` of an Apache Kafka of its own, keyed by card, and
read back from `fraud-scores`. Offline, `FraudFeatures` steps the same payments in order of time from an empty state.
A backlog's partitions are read at different speeds, and put in order where cards meet merchants: all probabilities must
be equal but those of payments at one merchant in the same second. No labels are sent. JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from stream_app.transport.partitioning import partitions_of  # noqa: E402
from tests.system.brokers import borrow_kafka  # noqa: E402
from tests.system.kafka_io import Record, create_topics, end_offsets, produce, read_all  # noqa: E402
from tests.system.workers import WorkerProcess, wait_until  # noqa: E402
from topics.columns import encode_columns  # noqa: E402
from topics.decisions import FraudScore  # noqa: E402
from topics.events import CardTransaction  # noqa: E402
from topics.spans import Spans  # noqa: E402
from tsrec_models.evaluation.fraud_reading import Transactions, read_transactions  # noqa: E402
from tsrec_models.risk.fraud_features import FraudFeatures  # noqa: E402
from tsrec_models.risk.fraud_model import FraudModel  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "fraud-handbook" / "transactions.parquet"
FIRST_DAY, TRAIN_DAYS = 60, 7


async def through_kafka(
    keys: Spans, values: list[bytes], partitions: int, workers: int, model: Path
) -> tuple[float, float, list[FraudScore]]:
    """Seconds from the first payment that a ready worker reads to the last score, its CPU seconds, and the scores."""
    folder = Path(tempfile.mkdtemp(prefix="fraud-stream-"))
    with ExitStack() as stack:
        broker = borrow_kafka(stack, folder, sys.exit)
        env = {
            "TSREC_BOOTSTRAP": broker.bootstrap, "TSREC_GROUP": "bench", "TSREC_WEB_PORT": "0",
            "TSREC_LOG_LEVEL": "INFO", "TSREC_PARTITIONS": str(partitions), "TSREC_FRAUD__MODEL": str(model),
            # Four partitions of a backlog run at different speeds: nothing of it is late.
            "TSREC_CARD_TRANSACTIONS__LATENESS_S": "1e9",
        }  # fmt: skip
        group = [WorkerProcess(folder, f"worker-{k}", "-m", "stream_app.cli", "worker", **env) for k in range(workers)]
        for worker in group:
            stack.callback(worker.close)
        await create_topics(broker.bootstrap, "card-transactions", partitions=partitions)
        places = partitions_of(keys, partitions).tolist()
        records = (Record(p, k, v) for p, k, v in zip(places, keys.tolist(), values, strict=True))
        await produce(broker.bootstrap, "card-transactions", records)
        for worker in group:
            worker.start()
        for worker in group:
            worker.wait_for_log("worker ready", 240)
        began, used = time.perf_counter(), sum(worker.cpu_s() for worker in group)

        def scored() -> bool:
            return sum(asyncio.run(end_offsets(broker.bootstrap, "fraud-scores")).values()) >= len(values)

        await asyncio.to_thread(wait_until, scored, 600, "all scored")
        took, used = time.perf_counter() - began, sum(worker.cpu_s() for worker in group) - used
        found = await read_all(broker.bootstrap, "fraud-scores")
        return took, used, [msgspec.json.decode(record.value or b"", type=FraudScore) for record in found]


def trained(data: Transactions) -> tuple[FraudModel, Path]:
    """A model of a week whose labels are known on the first day sent, and the folder that it is saved in."""
    x = FraudFeatures().replay(data.account, data.merchant, data.ts, data.amount, data.is_fraud)
    past = np.flatnonzero((data.day >= FIRST_DAY - 2 * TRAIN_DAYS) & (data.day < FIRST_DAY - TRAIN_DAYS))
    model = FraudModel.fit(x[past], data.is_fraud[past], data.ts[past])
    folder = Path(tempfile.mkdtemp(prefix="fraud-model-"))
    model.save(folder)
    return model, folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payments", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"no data at {DATA}")
    data, _ = read_transactions(DATA)
    frame = pq.read_table(DATA, columns=["TX_DATETIME"])
    assert len(frame) == len(data.ts), "rows were left out"
    model, folder = trained(data)
    begin = int(np.searchsorted(data.day, FIRST_DAY))
    rows = slice(begin, begin + args.payments)
    account, merchant, ts, amount = data.account[rows], data.merchant[rows], data.ts[rows], data.amount[rows]
    offline = model.predict(FraudFeatures().update(account, merchant, ts, amount))
    keys = Spans.of([b"card-%d" % k for k in account.tolist()])
    values = encode_columns(
        CardTransaction, account_id=keys, merchant_id=Spans.of([b"shop-%d" % k for k in merchant.tolist()]), ts=ts,
        amount=amount, transaction_id=Spans.of([b"%d" % k for k in range(len(ts))]),
    )  # fmt: skip
    took, used, scores = asyncio.run(
        through_kafka(keys, [value or b"" for value in values.tolist()], args.partitions, args.workers, folder)
    )
    streamed = np.full(len(ts), np.nan)
    for score in scores:
        streamed[int(score.transaction_id or -1)] = score.probability
    off = np.abs(streamed - offline)
    line = {
        "bench": "fraud_stream", "payments": len(ts), "partitions": args.partitions, "workers": args.workers,
        "scores": len(scores),
        "payments_per_s": round(len(ts) / took), "payments_per_cpu_s": round(len(ts) / used),
        "missing": int(np.isnan(streamed).sum()), "largest_difference": float(f"{np.nanmax(off):.1e}"),
        "equal_to_1e-9": round(float(np.mean(off <= 1e-9)), 5), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
