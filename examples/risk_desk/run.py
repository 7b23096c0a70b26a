"""A quiet market with two slips of the keyboard, through the worker of desk.py."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.stage import Stage

random.seed(3)
price, trades = {"ACME": 100.0, "BOLT": 20.0}, []
for n in range(600):
    symbol = random.choice(list(price))
    price[symbol] *= 1 + random.gauss(0, 0.0004)
    slip = {200: 0.9, 450: 1.2}.get(n, 1.0)
    trades.append(
        {"symbol": symbol, "price": round(price[symbol] * slip, 4), "quantity": 10, "ts": 1_780_000_000.0 + n}
    )


def slips(found: list[dict[str, object]]) -> list[dict[str, object]]:
    return [alert for alert in found if alert["kind"] == "fat_finger"]


with Stage(worker=(str(Path(__file__).with_name("desk.py")),)) as stage:
    stage.start_worker()
    stage.send("trades", trades, key="symbol")
    alerts = slips(stage.receive("risk-alerts", lambda found: len(slips(found)) >= 4))

for alert in alerts:
    print(f"{alert['severity']} {alert['kind']}: {alert['message']} ({alert['source']})")
print(f"{len(trades)} trades, {len(alerts)} alerts: each slip, and each return from it")
