"""Artifacts: whole, checked, and never code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tsrec_models.artifacts import (
    ITEMS,
    MANIFEST,
    PARAMETERS,
    ArtifactError,
    load_artifact,
    read_manifest,
    save_artifact,
)
from tsrec_models.base import ModelError
from tsrec_models.devices import resolve_device
from tsrec_models.sequence.gru import GRU, GRUNetwork
from tsrec_models.sequence.training_settings import Settings


def model(seed: int = 0) -> GRU:
    torch.manual_seed(seed)
    return GRU(GRUNetwork(5, Settings(width=4, hidden=6), False))


def save(folder: Path, seed: int = 0) -> str:
    ids = [f"sku {i}" for i in range(5)]
    settings = {"width": 4}
    metrics = {"test": {"ndcg@10": 0.5}}
    return save_artifact(folder, model(seed), ids, data_hash="abc", settings=settings, metrics=metrics).version


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    version = save(tmp_path / "m")
    artifact = load_artifact(tmp_path / "m", device="cpu")
    assert artifact.item_ids == ["sku 0", "sku 1", "sku 2", "sku 3", "sku 4"]
    assert artifact.manifest.version == version
    assert artifact.manifest.metrics == {"test": {"ndcg@10": 0.5}}
    assert artifact.manifest.data_hash == "abc"
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted([MANIFEST, PARAMETERS, ITEMS])
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "nothing partial is left"


def test_the_version_is_that_of_the_content(tmp_path: Path) -> None:
    assert save(tmp_path / "a") == save(tmp_path / "b")
    assert save(tmp_path / "c", seed=1) != save(tmp_path / "a")


def test_saving_again_replaces_the_artifact(tmp_path: Path) -> None:
    save(tmp_path / "m")
    version = save(tmp_path / "m", seed=1)
    assert load_artifact(tmp_path / "m", device="cpu").manifest.version == version
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="not a model artifact"):
        save(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("name", [PARAMETERS, ITEMS])
def test_a_changed_file_is_noticed(tmp_path: Path, name: str) -> None:
    save(tmp_path / "m")
    content = bytearray((tmp_path / "m" / name).read_bytes())
    content[-2] ^= 1
    (tmp_path / "m" / name).write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=f"{name} is damaged"):
        load_artifact(tmp_path / "m")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / ITEMS).unlink()
    with pytest.raises(ArtifactError, match=r"items\.json is missing"):
        load_artifact(tmp_path / "m")


def test_a_manifest_cannot_name_code(tmp_path: Path) -> None:
    save(tmp_path / "m")
    values = json.loads((tmp_path / "m" / MANIFEST).read_text())
    (tmp_path / "m" / MANIFEST).write_text(json.dumps(values | {"kind": "os.system"}))
    with pytest.raises(ArtifactError, match=r"kind 'os\.system' is not one of"):
        load_artifact(tmp_path / "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "format None"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1}', "not a manifest"),
    ],
)
def test_a_bad_manifest_is_explained(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(ArtifactError, match=message):
        read_manifest(tmp_path)


def test_no_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
        load_artifact(tmp_path)


def test_arrays_of_another_shape_are_refused() -> None:
    config = model().config()
    arrays = model().arrays() | {"project.bias": np.zeros(9, np.float32)}
    with pytest.raises(ModelError, match="do not fit a gru"):
        GRU.from_arrays(config, arrays)


def test_item_ids_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="2 item ids for a model of 5"):
        save_artifact(tmp_path / "m", model(), ["a", "b"], data_hash="", settings={}, metrics={})


def test_devices_are_named_or_refused() -> None:
    assert not resolve_device("cpu").is_gpu
    with pytest.raises(ModelError, match="unknown device 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(ModelError, match="not supported"):
        resolve_device("meta")
    if not torch.cuda.is_available():
        assert resolve_device("auto").torch_device.type == "cpu"
        with pytest.raises(ModelError, match="sees no GPU"):
            resolve_device("cuda")
