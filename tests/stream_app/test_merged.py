"""Calls of several lanes, made as one in the inference thread."""

import asyncio
import threading

import pytest

from stream_app.inference import Inference, Merged


async def test_what_waits_goes_together_and_each_gets_its_own() -> None:
    inference, calls, go = Inference(), [], threading.Event()

    def work(requests: list[list[int]]) -> list[int]:
        calls.append([len(request) for request in requests])
        if len(calls) == 1:
            go.wait(5)
        return [sum(request) for request in requests]

    merged: Merged[list[int], int] = Merged(inference, work, max_rows=5)
    first = [asyncio.ensure_future(merged.ask([1])), asyncio.ensure_future(merged.ask([2]))]
    await asyncio.sleep(0.05)  # the thread is busy with these
    rest = [asyncio.ensure_future(merged.ask([n] * n)) for n in (2, 3, 4)]
    await asyncio.sleep(0.05)
    go.set()
    assert await asyncio.gather(*first, *rest) == [1, 2, 4, 9, 16]
    assert calls == [[1, 1], [2, 3], [4]]  # one turn of the loop; then up to five rows
    inference.close()


async def test_an_error_is_raised_where_it_belongs() -> None:
    inference = Inference()

    def work(requests: list[str]) -> list[str | Exception]:
        if "all" in requests:
            raise RuntimeError("everything")
        return [ValueError(request) if request == "bad" else request.upper() for request in requests]

    merged: Merged[str, str] = Merged(inference, work, max_rows=100)
    good, bad = await asyncio.gather(merged.ask("good"), merged.ask("bad"), return_exceptions=True)
    assert good == "GOOD"
    assert isinstance(bad, ValueError)
    with pytest.raises(RuntimeError, match="everything"):
        await merged.ask("all")
    assert await merged.ask("again") == "AGAIN"  # and it goes on
    inference.close()


async def test_one_that_asked_and_left_takes_nothing_from_the_others() -> None:
    inference = Inference()
    merged: Merged[str, str] = Merged(inference, lambda requests: list(requests), max_rows=100)
    gone = asyncio.ensure_future(merged.ask("gone"))
    stays = asyncio.ensure_future(merged.ask("stays"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == "stays"
    inference.close()
