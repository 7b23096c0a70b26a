"""Failures in the log: the first of a kind, then a count."""

from __future__ import annotations

import logging

import pytest

from stream_app.complaints import Complaints


def test_the_first_of_each_kind_is_told_and_the_next_entry_counts_the_others(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(logging.getLogger("test"), every_s=3600.0)
    for i in range(50):
        complaints.failed("risk", f"trades:0:{i}", ValueError("no price"))
    complaints.failed("risk", "trades:0:50", KeyError("symbol"))
    complaints.failed("credit", "applications:0:1", ValueError("no price"))
    assert [record.message for record in caplog.records] == [
        "agent risk cannot process trades:0:0",
        "agent risk cannot process trades:0:50",
        "agent credit cannot process applications:0:1",
    ]
    complaints._every_s = 0.0
    complaints.failed("risk", "trades:0:51", ValueError("no price"))
    assert caplog.records[-1].message == "agent risk cannot process trades:0:51 (49 more like it since the last entry)"
