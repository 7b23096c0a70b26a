"""Finds a decision in its topics: the published recommendation, and the record of what it was made from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from stream_app.errors import UsageError
from stream_app.model_store import ModelStore
from stream_app.reading import open_topic, scan
from stream_app.redeciding import Verdict, redecide
from stream_app.security import Cluster
from topics.audit import DecisionRecord
from topics.catalog import Catalog
from topics.decisions import Recommendation
from tsrec_models.artifacts import Artifact, load_artifact, read_manifest

__all__ = ["Found", "artifact_at", "artifact_of", "find", "replay_decision"]


class Found(msgspec.Struct, frozen=True):
    """A decision as its topics have it; each None where it is not there (any more)."""

    record: DecisionRecord | None
    published: Recommendation | None


async def find(cluster: Cluster | str, catalog: Catalog, decision_id: str) -> Found:
    """Read both topics to their present ends, in bounded memory; the last of several records of one id counts.

    Raises:
        UsageError: the broker has not both topics.
    """
    record = await _last(cluster, catalog["decision-records"].kafka_name, decision_id)
    published = await _last(cluster, catalog["recommendations"].kafka_name, decision_id)
    return Found(
        None if record is None else msgspec.json.decode(record, type=DecisionRecord),
        None if published is None else msgspec.json.decode(published, type=Recommendation),
    )


async def _last(cluster: Cluster | str, topic: str, decision_id: str) -> bytes | None:
    # The id is the first field of both; anywhere else it would be in quotes of an id that a user chose.
    mark = b'{"decision_id":"%s",' % decision_id.encode()
    found = None
    async with open_topic(cluster, topic) as (consumer, partitions):
        async for entry in scan(consumer, partitions):
            if entry.value is not None and entry.value.startswith(mark):
                found = entry.value
    return found


def artifact_of(folder: Path | None, content_hash: str) -> Artifact | None:
    """The artifact with this hash: the folder itself, or one of the versions of the store it is; None if it is neither.

    Raises:
        ArtifactError: it is there and damaged.
    """
    if folder is None or not content_hash:
        return None
    store = ModelStore(folder)
    places = [folder] if store.is_artifact else [folder / "versions" / m.version for m in store.versions()]
    for place in places:
        if read_manifest(place).content_hash == content_hash:
            return load_artifact(place, device="cpu")
    return None


def artifact_at(folder: Path | None) -> Artifact | None:
    """The artifact in a folder, or the active one of the store that it is; None without a folder.

    Raises:
        ArtifactError: there is none, or it is damaged.
        UsageError: the store has no active model.
    """
    if folder is None:
        return None
    store = ModelStore(folder)
    path = store.path("active") if store.is_store and not store.is_artifact else folder
    if path is None:
        raise UsageError(f"{folder} has no active model; see `tsrec model list`")
    return load_artifact(path, device="cpu")


async def replay_decision(cluster: Cluster | str, catalog: Catalog, decision_id: str, model: Path | None) -> Verdict:
    """Make a decision again from its record.

    Raises:
        UsageError: there is no record of it.
    """
    found = await find(cluster, catalog, decision_id)
    if found.record is None:
        raise UsageError(_unrecorded(decision_id, found))
    artifact = await asyncio.to_thread(artifact_of, model, found.record.model_hash)
    return await asyncio.to_thread(redecide, found.record, found.published, artifact)


def _unrecorded(decision_id: str, found: Found) -> str:
    if found.published is None:
        return f"no decision {decision_id!r} in the topics recommendations and decision-records (retention may be over)"
    return (
        f"decision {decision_id!r} was published, but what it was made from was not written down: set "
        "TSREC_AUDIT_SHARE to the share of decisions that shall be"
    )
