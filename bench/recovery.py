"""Recovery of the standard job's state: from the start of the process to the first output that needs it.

recovery.py [--users 1000000] [--guarantee at_least_once]

Counts one click of each user, ends the worker, starts another with nothing but the changelog, and sends one more click
of known users. Prints one JSON line: seconds from start to ready and to the first output, rows, whether counts went on.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.system.brokers import borrow_kafka
from tests.system.counting import PARTITIONS
from tests.system.crashes import standard_job, wait_for_outputs
from tests.system.kafka_io import Record, create_topics, end_offsets, produce, read_all


def _clicks(users: int, ts: int):
    for user in range(users):
        yield Record(user % PARTITIONS, b"u%d" % user, b'{"user_id":"u%d","item_id":"i1","ts":%d.0}' % (user, ts))


async def run(bootstrap: str, folder: Path, users: int, guarantee: str) -> dict:
    """Fill, end, start again, take the time."""
    tag = uuid.uuid4().hex[:6]
    topic, output = f"recovery-{tag}-in", f"recovery-{tag}-out"
    await create_topics(bootstrap, topic, output)
    ts = int(time.time()) // 300 * 300 - 300
    await produce(bootstrap, topic, _clicks(users, ts))
    first = standard_job(folder, "first", bootstrap, f"recovery-{tag}", topic, output, guarantee).start()
    await wait_for_outputs(bootstrap, output, users, 300)
    code = first.terminate(60)
    before = sum((await end_offsets(bootstrap, output)).values())
    await produce(bootstrap, topic, _clicks(100, ts + 1))
    began = time.monotonic()
    second = standard_job(folder, "second", bootstrap, f"recovery-{tag}", topic, output, guarantee).start()
    ready = 0.0
    while sum((await end_offsets(bootstrap, output)).values()) <= before:
        if not ready and "worker ready" in second.log():
            ready = time.monotonic() - began
        if time.monotonic() - began > 120:
            raise TimeoutError(second.log())
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    await wait_for_outputs(bootstrap, output, before + 100, 60)
    second.terminate(60)
    last = [json.loads(r.value)["count"] for r in (await read_all(bootstrap, output)) if int(r.key[1:]) < 100]
    rows = [int(n.replace(",", "")) for n in re.findall(r"recovered ([\d,]+) rows", second.log())]
    return {
        "bench": "recovery", "guarantee": guarantee, "users": users, "ready_s": round(ready, 1),
        "first_output_s": round(took, 1), "rows": max(rows, default=0), "counts_went_on": sorted(set(last)) == [1, 2],
        "first_exit": code, "progress_lines": second.log().count("recovering:"),
    }  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--guarantee", default="at_least_once", choices=["at_least_once", "exactly_once"])
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = borrow_kafka(stack, folder, parser.error)
        print(json.dumps(asyncio.run(run(broker.bootstrap, folder, args.users, args.guarantee))), flush=True)


if __name__ == "__main__":
    main()
