"""The README's agent runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.stream_app.agents.conftest import batch_of
from topics.events import Click

README = Path(__file__).resolve().parents[1] / "README.md"


async def test_the_agent_in_the_readme_counts_and_a_replay_adds_nothing() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(code, names)
    await names["app"].rehearse()
    clicks = [Click(user, "tent", 1000.0 + i) for i, user in enumerate(("ann", "bob", "ann"))]
    for _ in range(2):  # the second time as after a crash
        await names["count"](batch_of(names["clicks"], clicks, partition=1))
        assert names["counts"].get("ann")["tumbling"] == {900.0: 2}


def test_every_page_the_readme_names_is_there() -> None:
    pages = re.findall(r"\]\(([\w/.-]+\.md)\)", README.read_text())
    assert len(pages) > 10
    missing = [page for page in pages if not (README.parent / page).exists()]
    assert not missing
