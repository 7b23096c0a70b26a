"""The store of models, and the command that fills it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from stream_app.commands.model import command
from stream_app.errors import UsageError
from stream_app.model_store import ModelStore
from tsrec_models.artifacts import ArtifactError, save_artifact
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.popularity import Popularity


def artifact(folder: Path, seed: int) -> Path:
    items = np.random.default_rng(seed).integers(0, 5, 30)
    model = Popularity.fit(Log.from_arrays(np.arange(30) % 6, items, n_items=5))
    save_artifact(folder, model, [f"i{i}" for i in range(5)], data_hash="-", settings={}, metrics={})
    return folder


def test_a_pushed_model_answers_once_it_is_activated(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    assert store.path("active") is None
    version = store.push(artifact(tmp_path / "a", 1))
    assert store.path("active") is None
    before = store.mark("active")
    store.point("active", version)
    assert store.mark("active") != before
    assert store.path("active") == tmp_path / "store" / "versions" / version
    assert store.push(tmp_path / "a") == version  # again: nothing new
    assert [manifest.version for manifest in store.versions()] == [version]


def test_an_artifact_in_place_of_a_store_is_its_own_active_version(tmp_path: Path) -> None:
    store = ModelStore(artifact(tmp_path / "a", 1))
    assert store.path("active") == tmp_path / "a"
    assert store.path("shadow") is None
    before = store.mark("active")
    artifact(tmp_path / "a", 2)
    assert store.mark("active") != before
    with pytest.raises(UsageError, match="is a model itself"):
        store.push(tmp_path / "a")


def test_a_damaged_model_does_not_get_in(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "a", 1)
    (folder / "items.json").write_text('["x","y","z","v","w"]')
    with pytest.raises(ArtifactError, match="damaged"):
        ModelStore(tmp_path / "store").push(folder)
    assert not (tmp_path / "store").exists()


def test_a_pointer_to_nowhere_is_refused_and_says_what_there_is(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    version = store.push(artifact(tmp_path / "a", 1))
    with pytest.raises(UsageError, match=version):
        store.point("active", "gru-000")
    (tmp_path / "store" / "shadow").write_text("gru-000\n")
    with pytest.raises(UsageError, match="gru-000"):
        store.path("shadow")


def test_the_command_pushes_activates_tries_and_lists(tmp_path: Path) -> None:
    store = f"--store={tmp_path / 'store'}"

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(command, [arguments[0], store, *arguments[1:]], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "no models yet" in run("list")
    first = run("push", str(artifact(tmp_path / "a", 1)), "--activate").split()[0]
    second = run("push", str(artifact(tmp_path / "b", 2)), "--shadow").split()[0]
    lines = {line.split()[0]: line for line in run("list").splitlines()}
    assert "active" in lines[first]
    assert "shadow" in lines[second]
    run("activate", second)  # no longer tried beside itself
    lines = {line.split()[0]: line for line in run("list").splitlines()}
    assert "active" in lines[second]
    assert "shadow" not in lines[second]
    run("shadow", first)
    assert "no model is tried" in run("shadow", "off")
    assert ModelStore(tmp_path / "store").version("shadow") is None
    with pytest.raises(UsageError, match="--activate or --shadow"):
        CliRunner().invoke(
            command, ["push", store, str(tmp_path / "a"), "--activate", "--shadow"], catch_exceptions=False
        )


def test_no_model_is_tried_beside_itself(tmp_path: Path) -> None:
    store = f"--store={tmp_path / 'store'}"

    def run(*arguments: str) -> str:
        return CliRunner().invoke(command, [arguments[0], store, *arguments[1:]], catch_exceptions=False).output

    first = run("push", str(artifact(tmp_path / "a", 1)), "--activate").split()[0]
    with pytest.raises(UsageError, match=f"{first} answers already"):
        run("shadow", first)
    with pytest.raises(UsageError, match=f"{first} answers already"):
        run("push", str(tmp_path / "a"), "--shadow")
    second = run("push", str(artifact(tmp_path / "b", 2)), "--shadow").split()[0]
    run("push", str(tmp_path / "b"), "--activate")
    assert ModelStore(tmp_path / "store").version("active") == second
    assert ModelStore(tmp_path / "store").version("shadow") is None
