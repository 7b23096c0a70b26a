"""What the routes of the web server may ask for, and the way from their thread into the stream's loop."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from stream_app.agents.recommendations import Recommender
from stream_app.agents.trends import ItemTrends
from stream_app.asking import OnDemand
from stream_app.errors import TsrecError
from stream_app.inference import Inference
from stream_app.items import ItemIndex
from stream_app.latest import LatestLists
from stream_app.metrics import Metrics
from stream_app.processor import Processor
from stream_app.risk_app import RiskDesk
from stream_app.settings import Settings
from stream_app.web.published import LastForecasts
from topics.catalog import Catalog

if TYPE_CHECKING:
    from stream_app.web.taps import Taps

__all__ = ["StreamBusy", "StreamLoop", "WebContext"]

P = ParamSpec("P")
T = TypeVar("T")

#: A read of the stream's state that is not answered in this time is given up; the stream has more important work.
IN_STREAM_S = 2.0


class StreamBusy(TsrecError):
    """The stream's loop did not come to a question in time, or there is none yet."""


@dataclass
class WebContext:
    """Everything of one worker that a route may need.

    Routes run in the web server's thread. What may be read there without `in_stream`: `settings`, `catalog`,
    `metrics`, flags, and what is replaced as a whole or only grows by appending (titles, ids and prices of items that
    are known). Rows of tables, alert books and everything that several steps of an agent change together is read by
    `await context.in_stream(read, …)`, between two steps of the stream.
    """

    processor: Processor
    settings: Settings
    catalog: Catalog
    items: ItemIndex
    trends: ItemTrends
    recommender: Recommender
    inference: Inference
    metrics: Metrics
    risk: RiskDesk
    catalog_ready: asyncio.Event
    latest: LatestLists
    on_demand: OnDemand
    forecasts: LastForecasts
    taps: Taps | None = None
    #: Makes a decision again from its inputs, by its id; None where it cannot be found. Awaited in the web's loop.
    replay: Callable[[str], Awaitable[dict[str, Any] | None]] | None = None
    stream: StreamLoop = field(default_factory=lambda: StreamLoop())

    @overload
    async def in_stream(self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    async def in_stream(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def in_stream(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run `work`, a function or a coroutine function, in the stream's loop and give what it returns.

        Keep it short: the stream stands still meanwhile. Copy what it reads before it returns. Many calls at once
        share one wake-up of the stream.

        Raises:
            StreamBusy: the stream did not answer within two seconds, or does not run.
            whatever `work` raises.
        """
        return await self.stream.call(partial(work, *args, **kwargs), IN_STREAM_S)


class StreamLoop:
    """The stream's event loop as another thread sees it. Bind it there, before the first call from elsewhere."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]] = deque()
        self._woken = False

    def bind(self) -> None:
        """The running loop is the stream's."""
        self._loop = asyncio.get_running_loop()

    async def call(self, work: Callable[[], Any], timeout_s: float) -> Any:
        """Have `work` called in the stream's loop, from any other loop; see `WebContext.in_stream`."""
        stream, here = self._loop, asyncio.get_running_loop()
        if stream is None or stream.is_closed():
            raise StreamBusy("the stream does not run; ask again when /readyz says ready")
        answer: asyncio.Future[Any] = here.create_future()
        self._waiting.append((work, answer, here))
        if not self._woken:
            self._woken = True
            stream.call_soon_threadsafe(self._answer)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            if not answer.cancelled():
                raise  # the work's own
            raise StreamBusy(f"the stream did not come to this within {timeout_s:g} s; ask again later") from None

    def _answer(self) -> None:
        """In the stream's loop: everything that waits by now. Answers to one loop go back in one wake-up."""
        self._woken = False
        done: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any, BaseException | None]]] = {}
        for _ in range(len(self._waiting)):
            work, answer, home = self._waiting.popleft()
            if answer.cancelled():
                continue  # nobody waits for it any more
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - raised where it was asked for
                done.setdefault(home, []).append((answer, None, error))
                continue
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                task.add_done_callback(partial(_forward, answer=answer, home=home))
            else:
                done.setdefault(home, []).append((answer, result, None))
        for home, answers in done.items():
            _post(home, answers)


def _forward(task: asyncio.Future[Any], answer: asyncio.Future[Any], home: asyncio.AbstractEventLoop) -> None:
    if task.cancelled():
        _post(home, [(answer, None, StreamBusy("the stream ended before this was answered"))])
    else:
        error = task.exception()
        _post(home, [(answer, None if error else task.result(), error)])


def _post(
    home: asyncio.AbstractEventLoop, answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]
) -> None:
    if not home.is_closed():
        home.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for answer, result, error in answers:
        if answer.done():
            continue
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)
