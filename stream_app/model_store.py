"""A folder of models, and two pointers in it that say which of them answers and which is tried beside it.

    STORE/versions/gru-0123456789ab/   an artifact, never changed once it is there
    STORE/active                       the version that answers; one line
    STORE/shadow                       the version scored beside it; absent for none

A pointer is replaced as a whole, so readers in any number of processes, also over a shared volume, see the old name or
the new one. A folder that is an artifact itself may stand in place of a store: it is its own active version.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from stream_app.errors import UsageError
from tsrec_models.artifacts import Manifest, load_artifact, read_manifest

__all__ = ["ModelStore", "Role"]

Role = Literal["active", "shadow"]

_MANIFEST = "manifest.json"


class ModelStore:
    """The models in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_artifact(self) -> bool:
        """Whether the folder is one artifact rather than a store of several."""
        return (self.folder / _MANIFEST).exists()

    @property
    def is_store(self) -> bool:
        """Whether models were put here, or there is an empty folder for them."""
        return (self.folder / "versions").is_dir() or (self.folder.is_dir() and not any(self.folder.iterdir()))

    def path(self, role: Role) -> Path | None:
        """Folder of the artifact that has a role, or None.

        Raises:
            UsageError: the pointer names a version that is not there.
        """
        if self.is_artifact:
            return self.folder if role == "active" else None
        version = self.version(role)
        if version is None:
            return None
        return self._at(version)

    def version(self, role: Role) -> str | None:
        """What the pointer of a role says, or None."""
        try:
            return (self.folder / role).read_text().strip() or None
        except FileNotFoundError:
            return None

    def mark(self, role: Role) -> tuple[object, ...]:
        """Changes whenever the model of a role may have: two looks at the file system, nothing is read."""
        pointer = self.folder / (_MANIFEST if self.is_artifact else role)
        if self.is_artifact and role == "shadow":
            return ()
        try:
            stat = pointer.stat()
        except FileNotFoundError:
            return ()
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def versions(self) -> list[Manifest]:
        """Manifests of the models that are here, oldest first."""
        folder = self.folder / "versions"
        found = (
            [read_manifest(path) for path in folder.iterdir() if (path / _MANIFEST).exists()] if folder.exists() else []
        )
        return sorted(found, key=lambda manifest: manifest.created)

    def push(self, artifact: Path) -> str:
        """Copy an artifact into the store once it has been loaded without complaint; its version.

        Raises:
            ArtifactError: it is missing or damaged.
            UsageError: the folder is an artifact itself.
        """
        if self.is_artifact:
            raise UsageError(f"{self.folder} is a model itself; name a folder that holds several")
        version = load_artifact(artifact, device="cpu").manifest.version
        target = self.folder / "versions" / version
        if not target.exists():
            partial = target.with_name(f".{version}.{os.getpid()}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(artifact, partial)
            load_artifact(partial, device="cpu")  # what was copied is what was meant
            os.replace(partial, target)
        return version

    def point(self, role: Role, version: str | None) -> None:
        """Let a role have a version that is in the store; None: no version.

        Raises:
            UsageError: there is no such version; it names those there are.
        """
        pointer = self.folder / role
        if version is None:
            pointer.unlink(missing_ok=True)
            return
        self._at(version)
        partial = self.folder / f".{role}.{os.getpid()}.partial"
        partial.write_text(version + "\n")
        os.replace(partial, pointer)

    def _at(self, version: str) -> Path:
        path = self.folder / "versions" / version
        if not (path / _MANIFEST).exists():
            known = ", ".join(manifest.version for manifest in self.versions()) or "none yet; see `tsrec model push`"
            raise UsageError(f"{self.folder} has no model {version!r}; there are: {known}")
        return path
