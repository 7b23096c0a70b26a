"""What kind of broker answers: its release, and what of Kafka's protocol it has."""

from __future__ import annotations

import asyncio
import ssl
import struct
from dataclasses import dataclass

from stream_app.security import Cluster

__all__ = ["Kind", "kind_of", "parse_versions", "release_of"]

#: `metadata.version` that each release of Apache Kafka brought, highest level of each (MetadataVersion in its source).
_RELEASES = (
    (1, "3.0"), (2, "3.1"), (3, "3.2"), (7, "3.3"), (8, "3.4"), (11, "3.5"), (14, "3.6"), (19, "3.7"), (20, "3.8"),
    (21, "3.9"), (25, "4.0"), (27, "4.1"), (29, "4.2"), (30, "4.3"),
)  # fmt: skip

#: Keys of the protocol. The embedded broker names those of transactions without having them, but no leader epochs.
_INIT_PRODUCER_ID, _LEADER_EPOCH, _ADD_OFFSETS, _DESCRIBE_CONFIGS, _API_VERSIONS = 22, 23, 25, 32, 18


@dataclass(frozen=True)
class Kind:
    """What a broker says of itself. apis: key of the protocol -> highest version; level: of `metadata.version`."""

    apis: dict[int, int]
    level: int | None

    @property
    def transactions(self) -> bool:
        """Whether exactly_once can work."""
        return {_INIT_PRODUCER_ID, _ADD_OFFSETS, _LEADER_EPOCH} <= self.apis.keys()

    @property
    def is_kafka(self) -> bool:
        """Apache Kafka, or what speaks all of its protocol; the embedded broker does not."""
        return self.transactions and _DESCRIBE_CONFIGS in self.apis

    @property
    def name(self) -> str:
        """For a person."""
        if not self.is_kafka:
            return "a broker without transactions (the embedded one)"
        if self.level is None:
            return "Apache Kafka before 3.3, or another broker of its protocol"
        return f"Apache Kafka {release_of(self.level)}"


def release_of(level: int) -> str:
    """The release that a level of `metadata.version` belongs to."""
    for highest, release in _RELEASES:
        if level <= highest:
            return release
    return f"{_RELEASES[-1][1]} or later"


async def kind_of(cluster: Cluster, timeout_s: float = 5.0) -> Kind:
    """Ask the first address that answers. ApiVersions is answered before a password is asked for.

    aiokafka reads only old versions of that answer, which do not name the release.

    Raises:
        OSError, TimeoutError: nothing answers.
    """
    failure: BaseException = OSError("no address")
    for host, port in cluster.addresses():
        try:
            return await asyncio.wait_for(_ask(host, port, cluster.tls), timeout_s)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, struct.error, IndexError) as one:
            failure = one
    raise failure if isinstance(failure, (OSError, TimeoutError)) else OSError(repr(failure))


async def _ask(host: str, port: int, tls: ssl.SSLContext | None) -> Kind:
    for version in (3, 0):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            head = struct.pack(">hhi", _API_VERSIONS, version, 1) + struct.pack(">h", 6) + b"tsrec!"
            # Header 2: tagged fields; body: two compact strings (name and version of the client), tagged fields.
            body = b"\x00" + b"\x06tsrec" + b"\x021" + b"\x00" if version else b""
            writer.write(struct.pack(">i", len(head + body)) + head + body)
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            answer = await reader.readexactly(size)
        finally:
            writer.close()
        if struct.unpack_from(">h", answer, 4)[0] == 0:
            return parse_versions(answer[6:]) if version else _parse_old(answer[6:])
    raise OSError(f"{host}:{port} does not answer ApiVersions")


def _parse_old(data: bytes) -> Kind:
    (count,) = struct.unpack_from(">i", data)
    triples = struct.iter_unpack(">hhh", data[4 : 4 + 6 * count])
    return Kind({key: highest for key, _lowest, highest in triples}, None)


def parse_versions(data: bytes) -> Kind:
    """The body of ApiVersions 3 after its error code: compact array of APIs, throttle time, tagged fields."""
    count, at = _varint(data, 0)
    apis = {}
    for _ in range(count - 1):
        key, _lowest, highest = struct.unpack_from(">hhh", data, at)
        apis[key] = highest
        at += 7  # with its empty tagged fields
    at += 4
    tags, at = _varint(data, at)
    level = None
    for _ in range(tags):
        tag, at = _varint(data, at)
        size, at = _varint(data, at)
        if tag == 2:  # finalized features: name, highest, lowest level
            level = _feature(data[at : at + size], "metadata.version")
        at += size
    return Kind(apis, level)


def _feature(data: bytes, wanted: str) -> int | None:
    count, at = _varint(data, 0)
    for _ in range(count - 1):
        size, at = _varint(data, at)
        name = data[at : at + size - 1].decode()
        at += size - 1
        highest, _lowest = struct.unpack_from(">hh", data, at)
        if name == wanted:
            return int(highest)
        at += 5
    return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
