"""kill -9 at random moments, two workers of one group on four partitions (bench/crash_test.py is the long version)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.system.brokers import Kafka
from tests.system.crashes import run_crashes

pytestmark = [pytest.mark.system, pytest.mark.kafka]


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_nothing_is_missing_or_wrong_after_kills_and_under_exactly_once_nothing_repeated(
    kafka: Kafka, tmp_path: Path, guarantee: str
) -> None:
    result = await run_crashes(
        kafka.bootstrap, tmp_path, guarantee, name=guarantee[:2], kills=2, rate=1000, users=2000,
        draw=random.Random(guarantee), pause_s=(2.0, 5.0),
    )  # fmt: skip
    assert (result.verdict.missing, result.verdict.wrong) == (0, 0), result
    if guarantee == "exactly_once":
        assert result.verdict.repeated == 0, result
