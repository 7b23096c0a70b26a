"""What every test shares: real data, property tests without a stopwatch and the same in every CI run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

#: Kernels are compiled at their first call, so the time of one example says nothing.
settings.register_profile("tsrec", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tsrec")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; the test is skipped where it is absent."""
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip("real data is not here (../shared/data)")
    return data
