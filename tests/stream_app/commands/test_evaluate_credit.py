"""`tsrec evaluate credit`: the last line is the figures; a mistake is one sentence and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from stream_app.commands.evaluate_credit import command
from tsrec_models.risk.credit import CreditScorer


def write(path: Path, n: int = 400) -> Path:
    rng = np.random.default_rng(0)
    income, sex = rng.normal(size=n), rng.choice(["f", "m"], n)
    outcome = np.where(rng.random(n) < 1 / (1 + np.exp(1 + 2 * income)), "bad", "good")
    pd.DataFrame({"income": income, "sex": sex, "row": np.arange(n), "outcome": outcome}).to_csv(path, index=False)
    return path


def test_the_last_line_has_the_figures_groups_are_shown_and_the_scorer_is_saved(tmp_path: Path) -> None:
    args = [str(write(tmp_path / "c.csv")), "--label", "outcome", "--drop", "row", "--group", "sex", "--without-group"]
    args += ["--plot", str(tmp_path / "c.png"), "--save", str(tmp_path / "scorer")]
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    lines = result.output.strip().splitlines()
    last = json.loads(lines[-1])
    assert {"auc", "ks", "brier", "calibration_error", "accuracy", "recall", "f1"} <= set(last)
    assert last["auc"] > 0.75
    assert {json.loads(line)["group"] for line in lines if '"selection"' in line and '"n"' in line} == {"f", "m"}
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    assert set(CreditScorer.load(tmp_path / "scorer").encoder.by_name) == {"income"}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--label", "nothing"], "no column 'nothing'"),
        (["--label", "sex", "--bad", "x"], "not 'x'"),
        (["--label", "outcome", "--group", "nothing"], "no column 'nothing' for --group"),
        (["--label", "outcome", "--drop", "nothing"], "no column nothing to drop"),
        (["--label", "income"], "two values"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(tmp_path: Path, args: list[str], why: str) -> None:
    path = write(tmp_path / "c.csv")
    call = [sys.executable, "-c", "from stream_app.cli import main; main()", "evaluate", "credit", str(path), *args]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr
