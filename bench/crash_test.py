"""Two workers of one group, killed at random moments while input flows: outputs against the truth.

crash_test.py [--guarantee at_least_once|exactly_once] [--kills 10] [--pause 15] [--rate 5000] …

Starts an Apache Kafka of its own (KAFKA_HOME or ../shared/kafka), prints one JSON line; exit code 1 if an output is
missing or wrong, or, under exactly_once, repeated.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.system.brokers import borrow_kafka
from tests.system.crashes import run_crashes


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guarantee", default="at_least_once", choices=["at_least_once", "exactly_once"])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pause", type=float, default=15.0, help="seconds between kills, on average")
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--bootstrap", help="a broker that already runs")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    with ExitStack() as stack:
        bootstrap = args.bootstrap or borrow_kafka(stack, folder, parser.error).bootstrap
        result = asyncio.run(
            run_crashes(
                bootstrap, folder, args.guarantee, name=uuid.uuid4().hex[:6],
                kills=args.kills, pause_s=(args.pause / 2, args.pause * 1.5), rate=args.rate, users=args.users,
                draw=random.Random(args.seed),
            )
        )  # fmt: skip
    verdict = result.verdict
    print(
        json.dumps(
            {
                "bench": "crash_test", "guarantee": args.guarantee, "kills": result.kills, "events": verdict.events,
                "outputs": verdict.outputs, "missing": verdict.missing, "repeated": verdict.repeated,
                "wrong": verdict.wrong, "longest_gap_s": round(result.longest_gap_s, 1), "seed": args.seed,
                "logs": str(folder),
            }
        )
    )  # fmt: skip
    bad = verdict.missing or verdict.wrong or (args.guarantee == "exactly_once" and verdict.repeated)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
