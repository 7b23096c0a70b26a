"""`--clean` and `--missing-times` of the commands that learn from a log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_app.commands._cleaning import clean
from stream_app.commands.evaluate_ranking import command as evaluate
from stream_app.commands.train import command as train
from stream_app.errors import UsageError
from tsrec_models.preparation.log import Log


def log() -> Log:
    """u: a, a again at once, b, b delivered twice. bot: five events in four seconds. v: c once, a."""
    users = ["u", "u", "u", "u", "bot", "bot", "bot", "bot", "bot", "v", "v"]
    items = ["a", "a", "b", "b", "a", "b", "a", "b", "a", "c", "a"]
    times = [0.0, 50.0, 9000.0, 9000.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 5000.0]
    codes = {name: code for code, name in enumerate(dict.fromkeys(users))}
    places = {name: code for code, name in enumerate(dict.fromkeys(items))}
    return Log.from_arrays(
        [codes[user] for user in users], [places[item] for item in items], times,
        user_ids=list(codes), item_ids=list(places),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "left"),
    [("", 11), ("duplicates", 10), ("repeats", 9), ("robots=4", 6), ("robots", 11), ("k-core=2", 9),
     ("duplicates, repeats ,robots=4", 4)],
)  # fmt: skip
def test_steps_leave_out_what_they_name(steps: str, left: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(clean(log(), steps)) == left
    assert capsys.readouterr().err.count("--clean") == len([step for step in steps.split(",") if step])


@pytest.mark.parametrize(
    ("steps", "says"),
    [("bots", "'bots' is not one of duplicates, repeats, robots=N, k-core=N"), ("k-core=x", "'x' is not a number"),
     ("robots=0", "'0' is not a number above 0"), ("duplicates=2", "is not one of"), ("k-core=9", "leaves no event")],
)  # fmt: skip
def test_a_wrong_step_is_one_sentence(steps: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        clean(log(), steps)


def test_training_and_evaluation_learn_from_the_cleaned_log(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    rows = [f"u{user},i{(user + step) % 6},{1000 * step}" for user in range(20) for step in range(6)]
    rows += [f"bot,i{step % 6},{step}" for step in range(400)] + ["u0,rare,500", "u1,i1,"]
    path.write_text("\n".join(["user_id,item_id,ts", *rows]))
    options = ["--clean", "robots,k-core=3", "--missing-times", "drop"]
    asked = CliRunner().invoke(evaluate, [str(path), "--model", "popularity", *options], catch_exceptions=False)
    assert "1 rows without time left out" in asked.stderr
    assert "--clean robots: 400 of 521 events left out" in asked.stderr
    figures = json.loads(asked.stdout.splitlines()[-1])
    assert (figures["events"], figures["users"], figures["items"]) == (120, 20, 6)
    quick = ["--model", "gru", "--set", "epochs=1", "--set", "hidden=8", "--set", "width=8"]
    taught = CliRunner().invoke(train, [str(path), "--out", str(tmp_path / "m"), *quick, *options])
    assert json.loads(taught.stdout.splitlines()[-1])["events"] == 120
