"""Two workers of one group that are killed at random moments while input flows."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path

from tests.system.counting import Clicks, Verdict, judge
from tests.system.kafka_io import create_topics, end_offsets, produce, read_all
from tests.system.workers import ROOT, WorkerProcess

__all__ = ["CrashResult", "run_crashes", "settled", "standard_job", "wait_for_outputs"]


@dataclass(frozen=True)
class CrashResult:
    """What came out."""

    verdict: Verdict
    kills: int
    longest_gap_s: float  # without a new output


def standard_job(
    folder: Path, name: str, bootstrap: str, group: str, topic: str, output: str, guarantee: str, **env: str
) -> WorkerProcess:
    """One worker of the standard job, not started."""
    return WorkerProcess(
        folder, name, str(ROOT / "bench" / "standard_job.py"),
        BOOTSTRAP=bootstrap, INPUT=topic, OUTPUT=output, GROUP=group, STATE_DIR=str(folder), GUARANTEE=guarantee, **env,
    )  # fmt: skip


async def wait_for_outputs(bootstrap: str, output: str, n: int, timeout_s: float) -> int:
    """Until the committed end of `output` is at least `n` and has not moved for a second; its end."""
    deadline = time.monotonic() + timeout_s
    last, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        end = sum((await end_offsets(bootstrap, output)).values())
        if end != last:
            last, since = end, time.monotonic()
        elif end >= n and time.monotonic() - since > 1.0:
            break
        await asyncio.sleep(0.25)
    return last


async def settled(bootstrap: str, output: str, clicks: Clicks, timeout_s: float = 60.0) -> Verdict:
    """Outputs against the truth, as soon as none is missing and another second has passed (or the time is up)."""
    deadline = time.monotonic() + timeout_s
    while True:
        verdict = judge(clicks.truth, await read_all(bootstrap, output))
        if not verdict.missing or time.monotonic() > deadline:
            await asyncio.sleep(1.0)
            return judge(clicks.truth, await read_all(bootstrap, output))
        await asyncio.sleep(0.5)


async def run_crashes(
    bootstrap: str, folder: Path, guarantee: str, *, name: str, kills: int, rate: int, users: int,
    draw: random.Random, pause_s: tuple[float, float] = (4.0, 12.0), settle_s: float = 90.0,
) -> CrashResult:  # fmt: skip
    """Feed `rate` events/s, kill one of two workers after each pause and start it again; then wait and judge."""
    topic, output = f"crash-{name}-in", f"crash-{name}-out"
    await create_topics(bootstrap, topic, output)
    clicks = Clicks(users=users, seed=draw.randrange(1 << 30), step_s=0.005)
    workers = [
        standard_job(
            folder, f"worker{i}", bootstrap, f"crash-{name}", topic, output, guarantee, SESSION_TIMEOUT_S="6"
        ).start()
        for i in range(2)
    ]
    flowing = True
    gaps = [0.0]

    async def feed() -> None:
        while flowing:
            began = time.monotonic()
            await produce(bootstrap, topic, clicks.take(rate))
            await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - began)))

    async def watch() -> None:
        last, since = -1, time.monotonic()
        while flowing:
            end = sum((await end_offsets(bootstrap, output)).values())
            now = time.monotonic()
            if end != last:
                last, since = end, now
            gaps.append(now - since)
            await asyncio.sleep(0.25)

    tasks = [asyncio.create_task(feed()), asyncio.create_task(watch())]
    try:
        await asyncio.to_thread(workers[0].wait_for_log, "(?i)worker ready", 90)
        for _ in range(kills):
            await asyncio.sleep(draw.uniform(*pause_s))
            victim = draw.choice(workers)
            await asyncio.to_thread(victim.kill)
            victim.start()
        await asyncio.sleep(2.0)
        flowing = False
        await asyncio.gather(*tasks)
        await settled(bootstrap, output, clicks, settle_s)
        for worker in workers:
            await asyncio.to_thread(worker.terminate, 30.0)
        verdict = judge(clicks.truth, await read_all(bootstrap, output))
        return CrashResult(verdict, kills, max(gaps))
    finally:
        for task in tasks:
            task.cancel()
        for worker in workers:
            worker.close()
