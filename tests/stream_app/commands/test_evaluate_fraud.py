"""`tsrec evaluate fraud`: the last line is the figures; a mistake is one sentence and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from stream_app.commands.evaluate_fraud import command
from tsrec_models.risk.fraud_model import FraudModel


def write(path: Path, days: int = 40, n: int = 6000) -> Path:
    rng = np.random.default_rng(0)
    ts = np.sort(1.7e9 + rng.uniform(0, days * 86_400, n))
    odd = rng.random(n) < 0.03
    amount = rng.lognormal(3, 0.4, n) * np.where(odd, 6, 1)
    pd.DataFrame(
        {
            "ts": ts,
            "account_id": rng.integers(0, 2000, n),
            "merchant_id": rng.integers(0, 50, n),
            "amount": amount,
            "label": odd.astype(int),
        }
    ).to_csv(path, index=False)
    return path


def test_the_last_line_has_the_figures_and_the_plot_is_written(tmp_path: Path) -> None:
    png = tmp_path / "f.png"
    args = [str(write(tmp_path / "t.csv")), "--warmup-days", "5", "--k", "20", "--plot", str(png)]
    args += ["--save", str(tmp_path / "model")]
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    last = json.loads(result.output.strip().splitlines()[-1])
    assert {"auc", "average_precision", "card_precision@20"} <= set(last)
    assert last["folds"] == 3
    assert last["auc"] > 0.9
    assert len(FraudModel.load(tmp_path / "model").boosters) == 4
    assert png.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("content", "args", "why"),
    [
        ("ts,account_id,merchant_id,amount\n1,a,b,5\n", [], "no column 'label'"),
        ("ts,account_id,merchant_id,amount,label\n1,a,b,5,0\n", ["--columns", "when=ts"], "'when=ts' is not one of"),
        ("ts,account_id,merchant_id,amount,label\n1,a,b,5,0\n", [], "one fold alone takes 21"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(tmp_path: Path, content: str, args: list[str], why: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    call = [sys.executable, "-c", "from stream_app.cli import main; main()", "evaluate", "fraud", str(path), *args]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr
