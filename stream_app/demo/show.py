"""The demo in a terminal: what arrives, as it arrives; and plain lines where there is no terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream_app.demo.tally import Tally

__all__ = ["Show"]

#: Seconds between two lines where there is no terminal.
LINE_S = 5.0

_SEVERITY = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


class Show:
    """Draws a tally a few times a second, or prints a line every few seconds."""

    def __init__(self, tally: Tally, titles: dict[str, str], page_url: str) -> None:
        self._tally = tally
        self._titles = titles
        self._page_url = page_url
        self._console = Console()
        self._live: Live | None = None
        self._began = self._line_at = time.monotonic()
        self._last: tuple[float, int, int] = (self._began, 0, 0)
        self._rates = (0.0, 0.0)

    def __enter__(self) -> Show:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._page)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self) -> None:
        """Call often; draws when it is time."""
        now, tally = time.monotonic(), self._tally
        events, answers = sum(tally.sent.values()), tally.received["recommendations"]
        then, events_then, answers_then = self._last
        if now - then >= 1.0:
            self._rates = ((events - events_then) / (now - then), (answers - answers_then) / (now - then))
            self._last = (now, events, answers)
        if self._live is None and now - self._line_at >= LINE_S:
            self._line_at = now
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _line(self) -> str:
        tally = self._tally
        hits = f"{tally.hits / tally.compared:.1%} of {tally.compared}" if tally.compared else "–"
        return (
            f"{time.monotonic() - self._began:5.0f} s  {self._rates[0]:6.0f} events/s  "
            f"{self._rates[1]:6.0f} recommendations/s  p50 {_ms(tally.percentile_ms(50))}  "
            f"p99 {_ms(tally.percentile_ms(99))}  next purchase was in the list: {hits}  "
            f"alerts {sum(tally.alerts.values())}  forecasts {tally.received['forecasts']}"
        )

    def _page(self) -> RenderableType:
        return Group(
            Panel(Text(self._line()), title="tsrec demo", subtitle=f"live page {self._page_url}"),
            self._recommendations(),
            self._markets(),
        )

    def _recommendations(self) -> RenderableType:
        table = Table(title="Recommendations", expand=True, show_lines=True)
        table.add_column("user", width=8)
        table.add_column("by", width=9)
        table.add_column("to show next, and why")
        for decision in list(self._tally.recent_recommendations):
            lines = []
            for item in decision["items"][:4]:
                title = self._titles.get(item["item_id"], item["item_id"])
                lines.append(f"{escape(title)}  [dim]{escape(item.get('reason', ''))}[/dim]")
            table.add_row(escape(decision["user_id"]), decision["rung"], "\n".join(lines) or "[dim]nothing yet[/dim]")
        return table

    def _markets(self) -> RenderableType:
        alerts = Table(title="Alerts", expand=True)
        for name in ("severity", "status", "kind", "subject", "what"):
            alerts.add_column(name)
        for alert in list(self._tally.recent_alerts):
            style = _SEVERITY.get(alert["severity"], "")
            alerts.add_row(
                f"[{style}]{alert['severity']}[/{style}]" if style else alert["severity"],
                alert["status"], alert["kind"], escape(alert["subject"]), escape(alert["message"]),
            )  # fmt: skip
        forecasts = Table(title="Forecasts", expand=True)
        for name in ("symbol", "next", "interval", "VaR 99 %"):
            forecasts.add_column(name)
        for symbol, forecast in sorted(self._tally.forecasts.items()):
            forecasts.add_row(symbol, *_numbers(forecast))
        return Group(alerts, forecasts)


def _ms(latency_ms: float | None) -> str:
    return "–" if latency_ms is None else f"{latency_ms} ms"


def _numbers(forecast: dict[str, Any]) -> tuple[str, str, str]:
    var = forecast.get("var_99")
    return (
        f"{forecast['mean']:,.4g}" if abs(forecast["mean"]) < 1 else f"{forecast['mean']:,.2f}",
        f"{forecast['lower']:,.2f} – {forecast['upper']:,.2f}",
        f"{var:.3%}" if var is not None else "",
    )
