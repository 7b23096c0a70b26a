"""Sports events: a match may be recommended until it starts; then it leaves the lists, whoever liked it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.stage import Stage

HOUR, SATURDAY = 3600.0, 1_780_041_600.0
SPORTS = {"football": 8, "tennis": 6, "basketball": 4}
random.seed(11)

# `expires_at` is the kick-off; the sport is the category, the teams are the text.
matches = [
    {
        "item_id": f"{sport}-{n}", "title": f"{sport.title()} {n + 1}", "category": sport,
        "text": f"{sport} club {n} against club {n + 1}", "expires_at": SATURDAY + HOUR * (12 + 10 * n / count),
    }
    for sport, count in SPORTS.items()
    for n in range(count)
]  # fmt: skip
start = {match["item_id"]: match["expires_at"] for match in matches}


def looks() -> list[dict[str, object]]:
    """Twenty fans look at matches of their sport from ten in the morning until nine in the evening."""
    clicks = []
    for minute in range(0, 11 * 60, 2):
        ts = SATURDAY + 10 * HOUR + minute * 60
        fan = random.randrange(20)
        sport = list(SPORTS)[fan % 3]
        coming = [item for item, begins in start.items() if item.startswith(sport) and begins > ts]
        if coming:
            clicks.append({"user_id": f"fan{fan}", "item_id": random.choice(coming), "ts": ts, "action": "view"})
    return clicks


with Stage(k=4, category_cap=3) as stage:
    stage.send("items", matches, key="item_id")
    stage.start_worker()
    clicks = looks()
    stage.send("clicks", clicks, key="user_id", rate=60)
    lists = stage.receive("recommendations", lambda found: len(found) >= len(clicks))

begun = sum(start[item["item_id"]] <= r["event_ts"] for r in lists for item in r["items"])
for r in lists[:: len(lists) // 4]:
    clock = 10 + (r["event_ts"] - SATURDAY - 10 * HOUR) / HOUR
    print(
        f"{int(clock):02d}:{int(clock % 1 * 60):02d}  {r['user_id']:>5}  " + ", ".join(i["item_id"] for i in r["items"])
    )
print(f"{len(lists)} lists, {sum(len(r['items']) for r in lists)} matches shown, {begun} of them had begun")
