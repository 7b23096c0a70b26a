"""Forecast errors by hand, and the command on files as users bring them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from stream_app.commands.evaluate_forecast import command, parse_order
from stream_app.errors import UsageError
from tsrec_models.base import ModelError
from tsrec_models.evaluation.forecast import evaluate_forecasts
from tsrec_models.evaluation.forecast_errors import absolute_scaled_error, naive_error, symmetric_percentage_error
from tsrec_models.evaluation.forecast_reading import read_series


def test_errors_equal_those_by_hand():
    past = np.array([1.0, 3.0, 2.0, 5.0])
    assert naive_error(past, 1) == pytest.approx((2 + 1 + 3) / 3)
    assert naive_error(past, 2) == pytest.approx((1 + 2) / 2)
    actual, forecast = np.array([[2.0, 4.0]]), np.array([[1.0, 6.0]])
    assert absolute_scaled_error(actual, forecast, np.array([2.0]))[0] == pytest.approx(0.75)
    assert symmetric_percentage_error(actual, forecast)[0] == pytest.approx(100 * (1 / 1.5 + 2 / 5) / 2)
    assert symmetric_percentage_error(np.zeros((1, 1)), np.zeros((1, 1)))[0] == 0.0


def _read(path: Path) -> tuple[list[str], list[np.ndarray]]:
    file = read_series(path)
    return file.names, file.columns


def triple(n: int, seed: int) -> np.ndarray:
    """An AR(1) whose variance triples half-way."""
    e = np.random.default_rng(seed).normal(size=n)
    e[n // 2 :] *= np.sqrt(3.0)
    y = np.zeros(n)
    for t in range(1, n):
        y[t] = 0.6 * y[t - 1] + e[t]
    return y + 50.0


def write(path: Path, columns: dict[str, list[str]]) -> Path:
    rows = max(len(c) for c in columns.values())
    lines = [",".join(columns)]
    lines += [",".join(c[i] if i < len(c) else "" for c in columns.values()) for i in range(rows)]
    path.write_text("\n".join(lines))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_the_command_prints_one_json_object_last(tmp_path):
    days = [str(np.datetime64("2024-01-01") + i) for i in range(800)]
    long, short = [f"{v:.4f}" for v in triple(800, 0)], [f"{v:.4f}" for v in triple(400, 1)]
    path = write(tmp_path / "series.csv", {"date": days, "long": long, "short": short})
    picture = tmp_path / "picture.png"
    result = run(path, "--horizon", 3, "--level", 0.9, "--plot", picture)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output.splitlines()[-1])
    assert {"mase", "smape", "coverage", "width", "update_ns"} <= figures.keys()
    assert figures["series"] == 2
    assert 0.88 <= figures["coverage"] <= 0.92
    assert all(0.86 <= q <= 0.94 for q in figures["coverage_quarters"])
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_fixed_order_is_used(tmp_path):
    path = write(tmp_path / "one.csv", {"y": [f"{v:.4f}" for v in triple(200, 2)]})
    result = run(path, "--order", "1,0,0")
    assert "ARIMA(1,0,0)" in result.output
    assert parse_order("0,1,1,0,1,1,12").s == 12


def test_no_figure_looks_ahead():
    """Values after a point change nothing that was said before it."""
    y = triple(300, 3)
    altered = y.copy()
    altered[200:] += 1000.0
    one, other = (evaluate_forecasts([v], 1, period=1).rolling for v in (y, altered))
    upto = 200 - 300 // 4
    np.testing.assert_array_equal(one.upper[0][:upto], other.upper[0][:upto])
    np.testing.assert_array_equal(one.covered[0][:upto], other.covered[0][:upto])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs a header"),
        ("a,b", "needs a header"),
        ("date,name\n2020-01-01,x\n2020-01-02,y", "no column of numbers"),
        ("y\n1\n2\noops\n4", "line 4: 'oops' is not a number"),
    ],
)
def test_wrong_files_are_told_in_a_sentence(tmp_path, text, says):
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(ModelError, match=says):
        _read(path)


def test_a_missing_file_and_a_wrong_order_are_told(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        _read(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="three numbers"):
        parse_order("1,2")


def test_too_short_a_series_is_told():
    with pytest.raises(ModelError, match="series 1 has 20 values"):
        evaluate_forecasts([np.arange(20.0)], 5)


def test_row_numbers_and_times_are_not_series(tmp_path):
    columns = {"": [str(i) for i in range(9)], "time": [str(1900 + i) for i in range(9)], "y": list("123456789")}
    names, values = _read(write(tmp_path / "r.csv", columns))
    assert names == ["y"]
    np.testing.assert_array_equal(values[0], np.arange(1.0, 10.0))


def test_short_and_flat_columns_do_not_stop_the_others(tmp_path):
    gappy = [f"{v:.4f}" for v in triple(150, 4)]
    gappy[40:44] = [""] * 4
    columns = {"gappy": gappy, "flat": ["5"] * 150, "short": ["1", "2", "3"]}
    result = run(write(tmp_path / "mixed.csv", columns), "--period", 1)
    assert result.exit_code == 0, result.output
    assert "left out, too short for the horizon: short" in result.output
    figures = json.loads(result.output.splitlines()[-1])
    assert figures["series"] == 2
    assert figures["mase"] > 0
    alone = run(write(tmp_path / "flat.csv", {"flat": ["5"] * 150}), "--period", 1)
    assert json.loads(alone.output.splitlines()[-1])["mase"] is None
    short = run(write(tmp_path / "short.csv", {"y": ["1", "2", "3"]}))
    assert isinstance(short.exception, UsageError)
    assert "the longest series has 3 values" in str(short.exception)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_that_of_the_header(tmp_path, delimiter):
    path = tmp_path / "d.csv"
    path.write_text(f"a{delimiter}b\n1.5{delimiter}2\n3{delimiter}4\n")
    names, columns = _read(path)
    assert names == ["a", "b"]
    np.testing.assert_array_equal(columns[0], [1.5, 3.0])
