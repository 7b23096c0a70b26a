"""`tsrec evaluate anomaly`, from folder to last line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from stream_app.commands.evaluate_anomaly import command
from tsrec_models.base import ModelError
from tsrec_models.evaluation.anomaly import evaluate, read_corpus

NAB = Path(__file__).parents[3].parent / "shared" / "data" / "nab"


def write(folder, name, values, start=datetime(2024, 3, 1, tzinfo=UTC)):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    stamps = [(start + timedelta(minutes=5 * k)).strftime("%Y-%m-%d %H:%M:%S") for k in range(len(values))]
    path.write_text("timestamp,value\n" + "\n".join(f"{t},{v}" for t, v in zip(stamps, values, strict=True)) + "\n")
    return stamps


def corpus_of_two(tmp_path):
    rng = np.random.default_rng(5)
    labels = {}
    for group in ("one", "two"):
        values = 10 + rng.standard_normal(3000)
        values[2000:2010] += 12.0
        stamps = write(tmp_path, f"{group}/a.csv", values.round(3))
        labels[f"{group}/a.csv"] = [[stamps[1990] + ".000000", stamps[2100] + ".000000"]]
    (tmp_path / "windows.json").write_text(json.dumps({**labels, "missing/b.csv": []}))
    return tmp_path / "windows.json"


def test_the_last_line_has_the_scores_and_how_they_were_reached(tmp_path):
    labels = corpus_of_two(tmp_path)
    result = CliRunner().invoke(
        command, [str(tmp_path), "--labels", str(labels), "--plot", str(tmp_path / "a.png")]
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    last = json.loads(result.output.splitlines()[-1])
    assert (last["series"], last["windows"], last["values"]) == (2, 2, 6000)
    # A jump of twelve sigmas at a tenth of its window: almost everything, with any of the thresholds.
    assert last["nab_standard"] > 95
    assert last["nab_standard"] >= last["nab_standard_left_out"]
    assert last["nab_standard"] >= last["nab_standard_fixed"] > 80
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_rows_of_a_window_are_found_by_their_times_and_between_them(tmp_path):
    stamps = write(tmp_path, "g/a.csv", np.zeros(100))
    between = stamps[50][:-2] + "30"  # half a minute after row 50
    (tmp_path / "w.json").write_text(json.dumps({"g/a.csv": [[stamps[10], stamps[20]], [between, stamps[60]]]}))
    assert read_corpus(tmp_path, tmp_path / "w.json")[0].windows == ((10, 20), (51, 60))


@pytest.mark.parametrize(
    ("text", "message"),
    [("time,value\n", "no column timestamp"), ("timestamp,value\n2024-01-01 00:00:00,x\n", "line 2")],
)
def test_a_file_that_does_not_fit_is_named_with_its_fault(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "w.json").write_text('{"a.csv": []}')
    with pytest.raises(ModelError, match=message):
        read_corpus(tmp_path, tmp_path / "w.json")


def test_labels_that_name_no_file_are_an_error(tmp_path):
    (tmp_path / "w.json").write_text("{}")
    with pytest.raises(ModelError, match="named in"):
        read_corpus(tmp_path, tmp_path / "w.json")


def test_the_score_on_the_benchmarks_groups_stays():
    if not NAB.is_dir():
        pytest.skip("needs ../shared/data/nab")
    figures, files = evaluate(read_corpus(NAB, NAB / "labels" / "combined_windows.json"))
    assert (figures.series, figures.windows) == (25, 39)
    assert figures.nab_standard > 65
    assert figures.nab_standard_left_out > 60
    quiet = [file for file in files if "NoAnomaly" in file.name]
    assert sum(int(np.sum(file.scores[750:] >= figures.threshold)) for file in quiet) <= 10
