"""`tsrec evaluate` on files as they come: a right answer, or one sentence and code 2; never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

N = 420
DAYS = np.datetime64("2020-01-01") + np.arange(N)
WALK = 100.0 + np.random.default_rng(0).normal(size=N).cumsum()
PRICES = 100.0 * np.exp(0.01 * np.random.default_rng(1).standard_t(4, size=N).cumsum())

Run = Callable[..., Any]


def csv(path: Path, header: str, *columns: Sequence[Any] | NDArray[Any], delimiter: str = ",") -> Path:
    """A file of these columns."""
    lines = [delimiter.join(str(v) for v in row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def figures(outcome: Any) -> dict[str, Any]:
    """The last line; every reader of JSON must take it."""
    assert outcome.code == 0, outcome.err

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    found: dict[str, Any] = json.loads(outcome.out.splitlines()[-1], parse_constant=refuse)
    return {name: value for name, value in found.items() if not name.endswith("_ns") and name != "ns_per_value"}


def refused(outcome: Any, why: str) -> None:
    """One sentence that says `why`, and code 2."""
    assert outcome.code == 2
    assert why in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", ["forecast", "var", "anomaly", "credit", "fraud"])
@pytest.mark.parametrize("plot", ["nowhere/x.png", "x.pdf"])
def test_a_figure_that_cannot_be_written_is_told_before_the_work(
    run: Run, tmp_path: Path, kind: str, plot: str
) -> None:
    path = csv(tmp_path / "a.csv", "a", range(40))
    (tmp_path / "labels.json").write_text("{}")
    more: dict[str, list[Any]] = {"anomaly": ["--labels", tmp_path / "labels.json"], "credit": ["--label", "a"]}
    target = tmp_path if kind == "anomaly" else path
    outcome = run("evaluate", kind, target, *more.get(kind, []), "--plot", plot)
    refused(outcome, plot)
    assert outcome.out == ""


@pytest.mark.parametrize("kind", ["credit", "fraud"])
def test_a_model_that_cannot_be_saved_is_told_before_the_work(run: Run, tmp_path: Path, kind: str) -> None:
    path = csv(tmp_path / "a.csv", "a", range(40))
    more = ["--label", "a"] if kind == "credit" else []
    refused(run("evaluate", kind, path, *more, "--save", path), "no folder can be made")


def test_series_are_put_in_order_of_their_dates(run: Run, tmp_path: Path) -> None:
    shuffled = np.random.default_rng(2).permutation(N)
    expected = figures(run("evaluate", "forecast", csv(tmp_path / "a.csv", "date,y", DAYS, WALK)))
    for name, rows in (("backwards", np.arange(N)[::-1]), ("shuffled", shuffled)):
        outcome = run("evaluate", "forecast", csv(tmp_path / f"{name}.csv", "date,y", DAYS[rows], WALK[rows]))
        assert figures(outcome) == expected
        assert "rows were put in order of 'date'" in outcome.out


def test_decimal_commas_and_thousands_set_apart_are_numbers(run: Run, tmp_path: Path) -> None:
    expected = figures(run("evaluate", "forecast", csv(tmp_path / "a.csv", "y", (WALK * 100).round(2))))
    german = [f"{v * 100:,.2f}".translate(str.maketrans(",.", ".,")) for v in WALK]
    english = [f'"{v * 100:,.2f}"' for v in WALK]
    found = figures(run("evaluate", "forecast", csv(tmp_path / "b.csv", "date;y", DAYS, german, delimiter=";")))
    assert found == expected
    found = figures(run("evaluate", "forecast", csv(tmp_path / "c.csv", "date,y", DAYS, english)))
    assert found == expected


def test_a_file_without_a_header_loses_no_value(run: Run, tmp_path: Path) -> None:
    expected = figures(run("evaluate", "forecast", csv(tmp_path / "a.csv", "y", WALK)))
    assert figures(run("evaluate", "forecast", csv(tmp_path / "b.csv", str(WALK[0]), WALK[1:]))) == expected


def test_a_level_far_above_the_moves_does_not_hide_them(run: Run, tmp_path: Path) -> None:
    low, high = (
        figures(run("evaluate", "forecast", csv(tmp_path / "a.csv", "y", np.round(level + WALK, 3)), "--period", 1))
        for level in (0.0, 1e9)
    )
    assert high["mase"] == pytest.approx(low["mase"], rel=0.01)
    assert high["width"] == pytest.approx(low["width"], rel=0.05)


def test_a_gap_as_long_as_a_quarter_has_no_coverage_and_no_warning(run: Run, tmp_path: Path) -> None:
    values = [str(v) for v in WALK[:120]] + [""] * 500 + [str(v) for v in WALK[120:]]
    outcome = run("evaluate", "forecast", csv(tmp_path / "a.csv", "index,y", range(len(values)), values))
    assert figures(outcome)["coverage_quarters"][0] is None
    assert outcome.err == ""


@pytest.mark.parametrize(
    ("header", "columns", "arguments", "why"),
    [
        ("id,date,y", (np.arange(N) // 140, DAYS[np.arange(N) % 140], WALK), [], "one column a series is needed"),
        ("y", (WALK * 1e200,), [], "scale them"),
        ("y", (WALK,), ["--order", "9,9,9"], "at most 14 lags"),
        ("date,y", (["soon", *DAYS[1:]], WALK), [], "'soon' is not a time"),
    ],
)
def test_series_that_cannot_be_meant_so_are_refused(
    run: Run, tmp_path: Path, header: str, columns: tuple[Any, ...], arguments: list[str], why: str
) -> None:
    refused(run("evaluate", "forecast", csv(tmp_path / "a.csv", header, *columns), *arguments), why)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%b %d, %Y", "%Y%m%d", "%s"])
def test_prices_are_put_in_order_however_dates_are_written(run: Run, tmp_path: Path, form: str) -> None:
    expected = figures(run("evaluate", "var", csv(tmp_path / "a.csv", "date,close", DAYS, PRICES), "--warmup", 250))
    rows = np.random.default_rng(3).permutation(N)
    if form == "%s":
        written: list[Any] = [int(d.astype("datetime64[s]").astype(np.int64)) for d in DAYS[rows]]
    else:
        written = [f'"{d.item().strftime(form)}"' for d in DAYS[rows]]
    path = csv(tmp_path / "b.csv", "\ufeffDate,Close", written, PRICES[rows])
    assert figures(run("evaluate", "var", path, "--warmup", 250)) == expected


def test_days_without_a_price_are_left_out(run: Run, tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "date;close", DAYS, PRICES, delimiter=";")
    expected = figures(run("evaluate", "var", path, "--warmup", 250))
    days = [*DAYS[:50], "2020-02-20", *DAYS[50:]]
    path = csv(tmp_path / "b.csv", "date,close", days, [*PRICES[:50], "null", *PRICES[50:]])
    assert figures(run("evaluate", "var", path, "--warmup", 250)) == expected


def series(folder: Path, stamps: Sequence[Any] | NDArray[Any], values: NDArray[np.float64]) -> Path:
    folder.mkdir(exist_ok=True)
    csv(folder / "a.csv", "timestamp,value", stamps, values)
    return folder


def test_anomalies_do_not_depend_on_order_unit_or_the_way_of_writing_times(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=1500) + 10.0
    values[1000:1010] += 9.0
    times = np.datetime64("2024-03-01T00:00:00") + 300 * np.arange(1500)
    window = [str(times[990]), str(times[1020])]
    (tmp_path / "w.json").write_text(json.dumps({"a.csv": [window], "gone.csv": []}))
    epoch = times.astype(np.int64)
    american = [t.item().strftime("%m/%d/%Y %H:%M") for t in times]
    rows = rng.permutation(1500)
    cases: list[tuple[Sequence[Any] | NDArray[Any], NDArray[np.float64]]] = [
        (times, values), (times[::-1], values[::-1]), (times[rows], values[rows]), (epoch, values),
        (american, values), (times, values * 1e-20), (times, values * 1e20),
    ]  # fmt: skip
    found = []
    for stamps, one in cases:
        outcome = run("evaluate", "anomaly", series(tmp_path / "f", stamps, one), "--labels", tmp_path / "w.json")
        found.append({name: value for name, value in figures(outcome).items() if value is not None})
        assert "1 of the 2 files that w.json names" in outcome.out
    assert found[0]["nab_standard"] > 90
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ("[]", "must be an object"), ("{", "cannot read windows"), ('{"a.csv": "x"}', "must be an object"),
        ('{"a.csv": [["2024-01-01"]]}', "a list of two times"), ('{"a.csv": [["foo", "bar"]]}', "no times"),
        ('{"a.csv": [["2030-01-01", "2030-01-02"]]}', "no row lies in"), ('{"a.csv": []}', "nothing to detect"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_meant_so_are_refused(run: Run, tmp_path: Path, labels: str, why: str) -> None:
    (tmp_path / "w.json").write_text(labels)
    folder = series(tmp_path / "f", DAYS, WALK)
    refused(run("evaluate", "anomaly", folder, "--labels", tmp_path / "w.json"), why)


def test_values_beyond_what_can_be_squared_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text('{"a.csv": []}')
    folder = series(tmp_path / "f", DAYS, WALK * 1e200)
    refused(run("evaluate", "anomaly", folder, "--labels", tmp_path / "w.json"), "scale them")


@pytest.mark.parametrize(
    ("header", "label", "arguments", "why"),
    [("x,x,y", "y", [], "more than one column 'x'"), ("x,z,y", "y", ["--folds", "300"], "300 folds of")],
)
def test_applications_that_cannot_be_meant_so_are_refused(
    run: Run, tmp_path: Path, header: str, label: str, arguments: list[str], why: str
) -> None:
    bad = (np.arange(N) % 4 == 0).astype(int)
    path = csv(tmp_path / "a.csv", header, WALK, PRICES, bad)
    refused(run("evaluate", "credit", path, "--label", label, *arguments), why)


def test_applications_with_decimal_commas_are_numbers(run: Run, tmp_path: Path) -> None:
    from tsrec_models.evaluation.credit_reading import read_applications

    comma = [f"{v:.3f}".replace(".", ",") for v in WALK]
    data = read_applications(csv(tmp_path / "a.csv", "x;y", comma, np.arange(N) % 2, delimiter=";"), "y")
    np.testing.assert_array_equal(data.table["x"], WALK.round(3))


def payments(path: Path, **columns: Any) -> Path:
    rng = np.random.default_rng(5)
    n = 4000
    table = {
        "ts": np.sort(rng.uniform(0, 30 * 86_400, n)).round() + 1.7e9, "account_id": rng.integers(0, 300, n),
        "merchant_id": rng.integers(0, 40, n), "amount": rng.lognormal(3, 1, n), "label": rng.integers(0, 25, n) == 0,
    } | columns  # fmt: skip
    return csv(path, ",".join(table), *(table[name] for name in table))


def test_times_of_payments_are_read_however_they_are_written(tmp_path: Path) -> None:
    from tsrec_models.evaluation.fraud_reading import read_transactions

    expected, _ = read_transactions(payments(tmp_path / "a.csv"))
    american = [str(np.datetime64(int(t), "s").item().strftime("%m/%d/%Y %H:%M:%S")) for t in expected.ts]
    found, _ = read_transactions(payments(tmp_path / "b.csv", ts=american))
    np.testing.assert_array_equal(found.ts, expected.ts)


def test_payments_of_nothing_are_payments(run: Run, tmp_path: Path) -> None:
    path = payments(tmp_path / "a.csv", amount=np.zeros(4000))
    assert figures(run("evaluate", "fraud", path, "--last", 1, "--warmup-days", 5))["folds"] == 1


def test_a_fold_with_too_few_frauds_is_left_out(run: Run, tmp_path: Path) -> None:
    few = np.zeros(4000, int)
    few[2100:2900:40] = 1  # a handful, in the middle
    path = payments(tmp_path / "a.csv", label=few)
    refused(run("evaluate", "fraud", path, "--warmup-days", 0), "no fold with 10 frauds to learn from")
