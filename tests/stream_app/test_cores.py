"""A worker kept to one core, and the processes beside it that are not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no core affinity")

KEPT = """
import os, subprocess, sys
from stream_app.cores import keep_to, own
core = max(os.sched_getaffinity(0))
keep_to(core)
assert os.sched_getaffinity(0) == {core}
child = "import os; from stream_app.cores import take; take({own}); print(sorted(os.sched_getaffinity(0)))"
subprocess.run([sys.executable, "-c", child.format(own=repr(own()))], check=True)
"""


def test_what_works_beside_a_worker_has_all_cores_again() -> None:
    shown = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == str(sorted(os.sched_getaffinity(0)))


def test_a_core_that_is_not_ours_is_a_usage_error() -> None:
    command = [sys.executable, "-m", "stream_app.cli", "worker", "--core=4096"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "core: this process may run on cores" in ended.stderr
    assert "Traceback" not in ended.stderr
