"""The README's agent runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "README.md"


async def test_the_agent_in_the_readme_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(code, names)
    await names["app"].rehearse()


def test_every_page_the_readme_names_is_there() -> None:
    pages = re.findall(r"\]\(([\w/.-]+\.md)\)", README.read_text())
    assert len(pages) > 10
    missing = [page for page in pages if not (README.parent / page).exists()]
    assert not missing
