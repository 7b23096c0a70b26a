"""The gate between batches and cuts."""

from __future__ import annotations

import asyncio

from stream_app.checkpoint import Gate


async def test_a_cut_waits_for_the_batches_under_way_and_holds_up_new_ones() -> None:
    gate, log = Gate(), []
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def batch(name: str) -> None:
        async with gate.batch():
            log.append(f"{name} in")
            inside.set()
            await go_on.wait()
            log.append(f"{name} out")

    async def cut() -> None:
        async with gate.cut():
            log.append("cut")

    first = asyncio.create_task(batch("a"))
    await inside.wait()
    cutting = asyncio.create_task(cut())
    await asyncio.sleep(0)
    second = asyncio.create_task(batch("b"))
    await asyncio.sleep(0.01)
    assert log == ["a in"]
    go_on.set()
    await asyncio.gather(first, cutting, second)
    assert log == ["a in", "a out", "cut", "b in", "b out"]


async def test_the_gate_opens_again_when_a_batch_or_a_cut_fails() -> None:
    gate = Gate()
    for manager in (gate.batch, gate.cut):
        try:
            async with manager():
                raise RuntimeError
        except RuntimeError:
            pass
    async with asyncio.timeout(1):
        async with gate.batch():
            pass
        async with gate.cut():
            pass
