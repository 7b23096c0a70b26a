"""Bad records among good ones: throughput of the standard job with and without them, side by side in one run.

poison.py [--good 1000000] [--poison 100000] [--rounds 2] [--guarantee at_least_once]

Rounds alternate between clean and poisoned input. Checked at the end: every bad record lies in the dead letters with a
reason and its bytes, every good one was counted. Prints a JSON line a round and one with the ratio; exit code 1 where
something is missing or the throughput is more than halved.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.system.brokers import borrow_kafka
from tests.system.counting import PARTITIONS, Clicks, judge
from tests.system.crashes import standard_job
from tests.system.kafka_io import Record, create_topics, end_offsets, produce, read_all

#: One of each kind, in turn.
BAD = [
    b'{"user_id":"u1","item_id":"i1"',
    b"\xff\xfe\x00 binary",
    b'{"user_id":7,"item_id":"i1","ts":1}',
    b'{"user_id":"u1","ts":1700000000.0}',
    b'{"user_id":"u1","item_id":"i1","ts":"now"}',
    b'{"user_id":"u1","item_id":"i1","ts":99999999999999}',
    None,
    b"[]",
]


def _mixed(clicks, good: int, poison: int):
    every = good // poison if poison else 0
    bad = itertools.cycle(BAD)
    for i, record in enumerate(clicks.take(good)):
        yield record
        if every and i % every == 0 and i // every < poison:
            yield Record(i // every % PARTITIONS, b"bad", next(bad))


async def one(bootstrap: str, folder: Path, guarantee: str, good: int, poison: int) -> dict:
    """One run of the job over `good` clicks with `poison` bad records between them."""
    tag = uuid.uuid4().hex[:6]
    topic, output = f"poison-{tag}-in", f"poison-{tag}-out"
    await create_topics(bootstrap, topic, output)
    clicks = Clicks(users=200_000, step_s=0.002)
    await produce(bootstrap, topic, _mixed(clicks, good, poison))
    dead_before = sum((await end_offsets(bootstrap, "dead-letters")).values())
    worker = standard_job(folder, tag, bootstrap, f"poison-{tag}", topic, output, guarantee).start()
    marks: dict[float, tuple[float, int]] = {}
    n, deadline = 0, time.monotonic() + 300
    while n < good and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        n = sum((await end_offsets(bootstrap, output, "read_uncommitted")).values())
        for share in (0.1, 0.9):
            if n >= share * good and share not in marks:
                marks[share] = (time.monotonic(), n)
    await asyncio.sleep(2.0)
    worker.terminate()
    rate = (marks[0.9][1] - marks[0.1][1]) / (marks[0.9][0] - marks[0.1][0])
    verdict = judge(clicks.truth, await read_all(bootstrap, output))
    letters = [r for r in await read_all(bootstrap, "dead-letters") if _of(r, topic)] if poison else []
    expected = Counter(itertools.islice(itertools.cycle(BAD), poison))
    reasons = Counter(dict(r.headers)["error.reason"].decode() for r in letters)
    return {
        "bench": "poison", "guarantee": guarantee, "good": good, "poison": poison, "events_per_s": round(rate),
        "missing": verdict.missing, "wrong": verdict.wrong, "repeated": verdict.repeated,
        "dead_letters": len(letters), "untouched": Counter(r.value for r in letters) == expected,
        "reasons": dict(reasons), "dead_letters_before": dead_before,
    }  # fmt: skip


def _of(record: Record, topic: str) -> bool:
    return dict(record.headers)["source.topic"].decode() == topic


async def run(bootstrap: str, folder: Path, args: argparse.Namespace) -> bool:
    """Alternate, print, compare."""
    await create_topics(bootstrap, "dead-letters", "late-events")
    rates: dict[bool, list[int]] = {False: [], True: []}
    fine = True
    for _ in range(args.rounds):
        for poison in (0, args.poison):
            row = await one(bootstrap, folder, args.guarantee, args.good, poison)
            print(json.dumps(row), flush=True)
            rates[poison > 0].append(row["events_per_s"])
            fine &= row["missing"] == row["wrong"] == 0 and row["dead_letters"] == poison and row["untouched"]
    ratio = max(rates[True]) / max(rates[False])
    print(json.dumps({"bench": "poison", "ratio": round(ratio, 2), "fine": fine}), flush=True)
    return fine and ratio > 0.5


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=1_000_000)
    parser.add_argument("--poison", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--guarantee", default="at_least_once", choices=["at_least_once", "exactly_once"])
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = borrow_kafka(stack, folder, parser.error)
        return 0 if asyncio.run(run(broker.bootstrap, folder, args)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
