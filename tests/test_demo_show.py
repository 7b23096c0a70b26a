"""The demo in a terminal: what it says before anything came, and texts of records that look like markup."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from stream_app.demo.show import Show
from stream_app.demo.tally import Tally


def shown(tally: Tally, titles: dict[str, str]) -> str:
    """What a terminal of 160 columns has."""
    show = Show(tally, titles, "http://127.0.0.1:6066/")
    console = Console(file=io.StringIO(), width=160)
    console.print(show._page())
    file: Any = console.file
    return str(file.getvalue())


def test_what_is_not_known_yet_is_a_dash() -> None:
    text = shown(Tally(), {})
    assert "p50 –" in text
    assert "None" not in text


def test_titles_users_and_subjects_are_no_markup() -> None:
    tally = Tally()
    item = {"item_id": "i", "score": 1.0, "reason": "taken with [/dim] tea"}
    tally.recent_recommendations.append({"user_id": "[u]", "rung": "rules", "items": [item]})
    tally.recent_alerts.append(
        {"severity": "info", "status": "firing", "kind": "price_jump", "subject": "[b]X", "message": "[/red] fell"}
    )
    text = shown(tally, {"i": "Tea [/bold] pot"})
    for piece in ("Tea [/bold] pot", "[/dim] tea", "[u]", "[b]X", "[/red] fell"):
        assert piece in text
