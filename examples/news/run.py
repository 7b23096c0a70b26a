"""A news feed: articles expire after six hours, and an expired one is never recommended again."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.stage import Stage

HOUR, START = 3600.0, 1_780_000_000.0
TOPICS = ("politics", "sports", "science", "culture")
random.seed(7)

# Every ten minutes an article appears, for one day. A reader likes one subject, and reads what is new.
articles = [
    {
        "item_id": f"a{n}", "title": f"{TOPICS[n % 4].title()} at {n // 6:02d}:{n % 6}0", "category": TOPICS[n % 4],
        "available_from": START + n * 600, "expires_at": START + n * 600 + 6 * HOUR,
    }
    for n in range(144)
]  # fmt: skip
by_id = {article["item_id"]: article for article in articles}


def reads() -> list[dict[str, object]]:
    """What twelve readers click in a day, in the order of time."""
    clicks = []
    for minute in range(0, 24 * 60, 5):
        ts = START + minute * 60
        reader = random.randrange(12)
        fresh = [
            a for a in articles if a["available_from"] <= ts < a["expires_at"] and a["category"] == TOPICS[reader % 4]
        ]
        if fresh:
            clicks.append({"user_id": f"r{reader}", "item_id": random.choice(fresh)["item_id"], "ts": ts})
    return clicks


with Stage(k=3) as stage:
    stage.send("items", articles, key="item_id")
    stage.start_worker()
    clicks = reads()
    stage.send("clicks", clicks, key="user_id", rate=60)
    feed = stage.receive("recommendations", lambda found: len(found) >= len(clicks))

shown = [(by_id[item["item_id"]], r["event_ts"]) for r in feed for item in r["items"]]
expired = sum(ts >= article["expires_at"] for article, ts in shown)
early = sum(ts < article["available_from"] for article, ts in shown)
for r in feed[-3:]:
    hours = (r["event_ts"] - START) / HOUR
    titles = ", ".join(str(by_id[item["item_id"]]["title"]) for item in r["items"])
    print(f"hour {hours:4.1f}  {r['user_id']:>3}  {titles}")
print(f"{len(feed)} lists, {len(shown)} articles shown, {expired} of them expired, {early} before they appeared")
