"""GET /forecasts/{symbol}."""

from __future__ import annotations

from stream_app.asking import locate
from stream_app.transport.partitioning import partition_of
from stream_app.web.api.endpoint import Answer, Call, Endpoint
from stream_app.web.api.groups import forwarded_or
from stream_app.web.context import WebContext
from stream_app.web.peers import Peers
from stream_app.web.problems import Problem
from topics.decisions import Forecast

__all__ = ["Forecasts"]


class Forecasts:
    """The route."""

    def __init__(self, context: WebContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self._trades = context.catalog["trades"]

    def endpoints(self) -> list[Endpoint]:
        """Its declaration."""
        return [
            Endpoint(
                "GET", "/forecasts/{symbol}", "The last forecast of a symbol", "risk", self.get, Forecast,
                problems=(404, 502),
            )
        ]  # fmt: skip

    async def get(self, call: Call) -> Answer:
        """The forecast that was last sent to the topic `forecasts`: price one bar on with its interval, value at risk,
        expected shortfall, volatility. A symbol of another worker's partition is asked for there."""
        context, symbol = self._context, call.path["symbol"]
        known = await context.in_stream(self._is_mine, symbol.encode())
        if known:
            record = context.forecasts.get(symbol)
            if record is not None:
                return Answer(raw=record)
            market = context.settings.market
            raise Problem(
                404,
                f"{symbol!r} trades, but has no forecast yet: one comes with the next closed bar ({market.bar_s:g} s), "
                f"the first after {market.warmup_bars} of them",
            )
        partition = partition_of(symbol.encode(), self._trades.partitions)
        return await forwarded_or(
            context, self._peers, call.request, self._trades.kafka_name, partition,
            Problem(404, f"no trade of symbol {symbol!r} has been seen; /models says what is forecast"),
        )  # fmt: skip

    def _is_mine(self, symbol: bytes) -> bool:
        table, mine = self._context.risk.market.symbols, self._peers.mine(self._trades.kafka_name)
        return locate([shard for partition, shard in table.shards.items() if partition in mine], symbol) is not None
