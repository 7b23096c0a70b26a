"""`tsrec train` on a file: an artifact, and one JSON line."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from stream_app.commands.train import command
from stream_app.errors import UsageError
from tsrec_models.artifacts import load_artifact
from tsrec_models.base import ModelError

QUICK = ["--set", "width=8", "--set", "epochs=2", "--set", "layers=1", "--set", "hidden=8"]


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "clicks.csv"
    rows = [
        f"u{user},sku{(start + step) % 12},{1_700_000_000 + 1000 * step}"
        for user in range(40)
        for start in [int(rng.integers(12))]
        for step in range(int(rng.integers(3, 9)))
    ]
    path.write_text("\n".join(["user_id,item_id,ts", *rows]))
    return path


def test_training_writes_an_artifact_and_prints_its_metrics(clicks: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    result = CliRunner().invoke(
        command, [str(clicks), "--out", str(out), "--model", "gru", *QUICK], catch_exceptions=False
    )
    last = json.loads(result.stdout.splitlines()[-1])
    artifact = load_artifact(out, device="cpu")
    assert last["version"] == artifact.manifest.version
    assert (last["users"], last["items"]) == (40, 12)
    assert last["test"] == artifact.manifest.metrics["test"]
    assert 0 <= last["validation"]["ndcg@10"] <= 1
    assert artifact.manifest.settings["width"] == 8
    assert set(artifact.item_ids) == {f"sku{i}" for i in range(12)}
    history = np.array([artifact.item_ids.index("sku3")])
    ids, _ = artifact.model.topk(artifact.model.encode([history]), 3)
    assert (ids >= 0).all()


def test_test_questions_that_ask_for_a_seen_item_are_told(clicks: Path, tmp_path: Path) -> None:
    lines = [f"u{user},sku{item},{1_700_000_000 + step}" for user in range(30) for step, item in enumerate([1, 2, 3])]
    again = tmp_path / "again.csv"
    again.write_text("\n".join(["user_id,item_id,ts", *lines, *(f"u{user},sku1,1700000009" for user in range(7))]))

    def told(path: Path, *more: str) -> str:
        arguments = [str(path), "--out", str(tmp_path / "model"), "--model", "gru", *QUICK, *more]
        return CliRunner().invoke(command, arguments, catch_exceptions=False).stderr

    assert "7 of 30 test questions" in told(again)
    assert "test questions" not in told(again, "--include-seen")
    assert "test questions" not in told(clicks)


def test_a_model_too_wide_for_users_rows_says_what_to_set(clicks: Path, tmp_path: Path) -> None:
    from stream_app.items import ItemIndex
    from stream_app.models import LiveModel

    out = tmp_path / "model"
    quick = [*QUICK, "--set", "hidden=40"]
    wide = CliRunner().invoke(command, [str(clicks), "--out", str(out), *quick], catch_exceptions=False)
    width = json.loads(wide.stdout.splitlines()[-1])["state_width"]
    assert width == load_artifact(out, device="cpu").model.state_width
    assert f"TSREC_HIDDEN_WIDTH={width}" in wide.stderr
    LiveModel.load(out, ItemIndex(), device="cpu", max_state_width=width)
    narrow = CliRunner().invoke(
        command, [str(clicks), "--out", str(out), "--model", "gru", *quick], catch_exceptions=False
    )
    assert "TSREC_HIDDEN_WIDTH" not in narrow.stderr


def test_rows_left_out_are_counted(clicks: Path, tmp_path: Path) -> None:
    with clicks.open("a") as file:
        file.write("\nu1,,1700000000\n,sku1,1700000000")
    arguments = [str(clicks), "--out", str(tmp_path / "m"), "--model", "gru", *QUICK]
    assert "2 rows without user or item left out" in CliRunner().invoke(command, arguments).stderr


def test_a_search_uses_settings_it_tried_and_says_what_it_found(clicks: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    arguments = [str(clicks), "--out", str(out), "--search", "random", "--max-minutes", "0.05", *QUICK]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    last = json.loads(result.stdout.splitlines()[-1])
    assert "ndcg@10" in last["test"]
    found = last["search"]
    assert found["trials"] >= 1
    assert found["ndcg@10"] >= found["ndcg@10_before"]
    used = load_artifact(out, device="cpu").manifest.settings
    assert {name: used[name] for name in found["changed"]} == found["changed"]
    assert f"search: best of {found['trials']} short trainings" in result.stderr


def test_a_package_that_logs_need_is_asked_for_before_the_log_is_read(tmp_path: Path) -> None:
    if find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    arguments = [str(tmp_path / "missing.csv"), "--out", str(tmp_path / "m"), "--wandb", str(tmp_path / "w")]
    with pytest.raises(ModelError, match="pip install wandb"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "depth=3"], "not NAME=VALUE"),
        (["--set", "width=wide"], "width needs int"),
        (["--set", "refit=maybe"], "true or false"),
        (["--columns", "user=u"], "not one of user_id=COLUMN"),
    ],
)
def test_a_mistake_is_explained(clicks: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(command, [str(clicks), "--out", str(tmp_path / "m"), *arguments], catch_exceptions=False)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("who,what\n1,2\n")
    with pytest.raises(ModelError, match="no column user_id"):
        CliRunner().invoke(command, [str(tmp_path / "bad.csv"), "--out", str(tmp_path / "m")], catch_exceptions=False)


def test_too_short_a_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("user_id,item_id\n1,2\n1,3\n")
    with pytest.raises(UsageError, match="three events"):
        CliRunner().invoke(command, [str(tmp_path / "short.csv"), "--out", str(tmp_path / "m")], catch_exceptions=False)


def test_the_weight_of_the_live_blend_is_chosen_and_loaded_with_the_model(clicks: Path, tmp_path: Path) -> None:
    from stream_app.items import ItemIndex
    from stream_app.models import LiveModel

    out = tmp_path / "model"
    result = CliRunner().invoke(
        command, [str(clicks), "--out", str(out), "--model", "gru", *QUICK], catch_exceptions=False
    )
    chosen = json.loads(result.stdout.splitlines()[-1])["live_blend"]
    assert chosen["blend"]["ndcg@10"] >= max(chosen["rules"]["ndcg@10"], chosen["neural"]["ndcg@10"])
    live = LiveModel.load(out, ItemIndex(), device="cpu", max_state_width=66)
    assert live.neural_weight == chosen["neural_weight"]


def test_a_mistake_in_the_file_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    """Torch takes seconds to load; ended at once after it, one process in eight was aborted (exit code 134)."""
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("who,what\na,b\n")
    run = (
        "import sys\nfrom stream_app.commands.train import command\nfrom tsrec_models.base import ModelError\n"
        "try:\n    command([sys.argv[1], '--out', 'x'], standalone_mode=False)\n"
        "except ModelError as error:\n    print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", run, str(wrong)], capture_output=True, text=True, timeout=120)
    assert "no column user_id or item_id" in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith("False")
