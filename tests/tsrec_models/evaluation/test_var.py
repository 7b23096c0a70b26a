"""`tsrec evaluate var`, from file to last line."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from click.testing import CliRunner

from stream_app.commands.evaluate_var import command
from tsrec_models.base import ModelError
from tsrec_models.evaluation.var import read_prices


def write(path, days=900):
    rng = np.random.default_rng(1)
    closes = 100 * np.exp(np.cumsum(0.01 * rng.standard_t(5, days)))
    lines = [f"2001-{1 + k // 28 % 12:02d}-{1 + k % 28:02d},{close:.4f},7" for k, close in enumerate(closes)]
    path.write_text("Date,Close,volume\n" + "\n".join(lines) + "\n")
    return closes


def test_the_last_line_is_the_backtest(tmp_path):
    write(tmp_path / "prices.csv")
    result = CliRunner().invoke(
        command,
        [str(tmp_path / "prices.csv"), "--level", "0.95", "--warmup", "400", "--plot", str(tmp_path / "var.png")],
    )
    assert result.exit_code == 0, result.output
    last = json.loads(result.output.splitlines()[-1])
    assert last["days"] == 499
    assert last["expected"] == pytest.approx(24.95)
    assert 10 <= last["hits"] <= 42
    assert {"kupiec_p", "independence_p", "conditional_coverage_p", "es_z2", "fz0", "basel_green", "basel_red"} <= set(
        last
    )
    assert last["basel_green"] + last["basel_yellow"] + last["basel_red"] == 250
    assert (tmp_path / "var.png").read_bytes()[:4] == b"\x89PNG"


def test_a_zipped_file_and_one_that_runs_backwards_are_read(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("close,DATE\n3,1/5/1999\n2,1/4/1999\n1,12/31/1998\n")
    dates, closes = read_prices(tmp_path / "a.csv.gz")
    assert (dates[0], closes.tolist()) == ("12/31/1998", [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,price\n2001-01-01,5\n", "no column close"),
        ("", "no column date and no column close"),
        ("date,close\n2001-01-01,5\n2001-01-02,x\n", "line 3: close is not a number"),
        ("date,close\n2001-01-01,-5\n", "line 2: close is -5.0"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_its_fault(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ModelError, match=message):
        read_prices(tmp_path / "a.csv")
