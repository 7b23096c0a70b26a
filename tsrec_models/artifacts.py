"""Models on disk: a folder of safetensors and JSON, checked by content hash. Nothing is code or unpickled.

manifest.json         format, kind, config, settings, metrics, data hash, code version, hashes of the other files
parameters.safetensors
items.json            the user's own item id of each index 0 .. n - 1
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tsrec_models.base import ModelError, SequenceRecommender

__all__ = [
    "KINDS",
    "Artifact",
    "ArtifactError",
    "Manifest",
    "load_artifact",
    "load_model_class",
    "read_manifest",
    "save_artifact",
]

FORMAT = 1

MANIFEST = "manifest.json"
PARAMETERS = "parameters.safetensors"
ITEMS = "items.json"

#: Kind -> (module, class). A manifest names a kind; it cannot name code.
KINDS = {
    "gru": ("tsrec_models.sequence.gru", "GRU"),
    "lstm": ("tsrec_models.sequence.lstm", "LSTM"),
    "lru": ("tsrec_models.sequence.lru", "LRU"),
    "transformer": ("tsrec_models.sequence.transformer", "Transformer"),
    "joint": ("tsrec_models.sequence.joint", "Joint"),
    "popularity": ("tsrec_models.sequence.popularity", "Popularity"),
    "popularity-7d": ("tsrec_models.sequence.popularity", "RecentPopularity"),
    "popularity-decayed": ("tsrec_models.sequence.popularity", "Trending"),
    "item-to-item": ("tsrec_models.sequence.item_to_item", "ItemToItem"),
    "rules": ("tsrec_models.sequence.rules_recommender", "RulesRecommender"),
    "session-knn": ("tsrec_models.sequence.session_knn", "SessionKnn"),
    "blend": ("tsrec_models.sequence.blend", "Blend"),
}


class ArtifactError(ModelError):
    """An artifact is missing, damaged, or of a kind or format this version does not read."""


class Storable(Protocol):
    """What a model needs so that it can be kept: its arrays, and plain values from which it is built again."""

    @property
    def name(self) -> str: ...

    @property
    def n_items(self) -> int: ...

    def arrays(self) -> dict[str, NDArray[Any]]: ...

    def config(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Manifest:
    """What stands beside the parameters. `metrics` maps a split (`validation`, `test`) to its figures."""

    kind: str
    config: dict[str, Any]
    settings: dict[str, Any]
    metrics: dict[str, Any]
    data_hash: str
    code_version: str
    created: float
    files: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def content_hash(self) -> str:
        """SHA-256 over kind, config and the hashes of the files: equal for equal models, whenever they were written."""
        text = json.dumps([self.kind, self.config, sorted(self.files.items())], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def version(self) -> str:
        """Short name of this very model, for decisions and metrics: kind and twelve digits of the content hash."""
        return f"{self.kind}-{self.content_hash[:12]}"


@dataclass(frozen=True)
class Artifact:
    """A loaded model, the user's item ids by index, and the manifest."""

    model: SequenceRecommender
    item_ids: list[str]
    manifest: Manifest


def save_artifact(
    folder: Path,
    model: Storable,
    item_ids: Sequence[str],
    *,
    data_hash: str,
    settings: dict[str, Any],
    metrics: dict[str, Any],
) -> Manifest:
    """Write a model to `folder`, replacing an artifact that is there. A reader sees the old one or the new one, whole.

    Raises:
        ArtifactError: the kind is not registered, ids do not fit the model, or the folder holds something else.
    """
    if model.name not in KINDS:
        raise ArtifactError(f"no model kind {model.name!r}: add it to KINDS of tsrec_models.artifacts")
    if len(item_ids) != model.n_items:
        raise ArtifactError(f"{len(item_ids)} item ids for a model of {model.n_items} items")
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise ArtifactError(f"{folder} exists and is not a model artifact; choose another folder")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(array) for name, array in model.arrays().items()}, partial / PARAMETERS)
    (partial / ITEMS).write_text(json.dumps([str(item) for item in item_ids]))
    manifest = Manifest(
        kind=model.name,
        config=model.config(),
        settings=settings,
        metrics=metrics,
        data_hash=data_hash,
        code_version=_code_version(),
        created=time.time(),
        files={name: _file_hash(partial / name) for name in (PARAMETERS, ITEMS)},
    )
    (partial / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2))
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact, without its model.

    Raises:
        ArtifactError: there is none, it cannot be read, or its format is another.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder} is not a model artifact: it has no {MANIFEST}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise ArtifactError(f"{path}: format {found!r}, this version reads {FORMAT}; train the model again")
    try:
        return Manifest(**values)
    except TypeError as error:
        raise ArtifactError(f"{path} is not a manifest of this format: {error}") from error


def load_artifact(folder: Path, *, device: str = "auto") -> Artifact:
    """Load a model after checking every file against its hash in the manifest.

    Raises:
        ArtifactError: the artifact is missing, damaged, or of an unknown kind.
    """
    manifest = read_manifest(folder)
    if manifest.kind not in KINDS:
        raise ArtifactError(f"{folder}: model kind {manifest.kind!r} is not one of {', '.join(KINDS)}")
    for name in (PARAMETERS, ITEMS):
        if name not in manifest.files:
            raise ArtifactError(f"{folder}: the manifest has no hash of {name}")
        if not (folder / name).exists():
            raise ArtifactError(f"{folder}: {name} is missing")
        if _file_hash(folder / name) != manifest.files[name]:
            raise ArtifactError(f"{folder}: {name} is damaged, its hash is not the manifest's; copy or train it again")
    try:
        arrays = load_file(folder / PARAMETERS)
        item_ids = json.loads((folder / ITEMS).read_text())
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"{folder}: cannot be read: {error}") from error
    model_class = load_model_class(manifest.kind)
    try:
        model = model_class.from_arrays(manifest.config, arrays, device)
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder}: the config does not fit a {manifest.kind}: {error!r}") from error
    if len(item_ids) != model.n_items:
        raise ArtifactError(f"{folder}: {len(item_ids)} item ids for a model of {model.n_items} items")
    return Artifact(model, item_ids, manifest)


def load_model_class(kind: str) -> Any:
    """The class of a registered kind.

    Raises:
        ArtifactError: the kind is not registered.
    """
    if kind not in KINDS:
        raise ArtifactError(f"model kind {kind!r} is not one of {', '.join(KINDS)}")
    module, name = KINDS[kind]
    return getattr(importlib.import_module(module), name)


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code_version() -> str:
    try:
        return metadata.version("tsrec")
    except metadata.PackageNotFoundError:
        return "uninstalled"
