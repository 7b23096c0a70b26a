"""A worker writes rows only while its group surely still counts it in."""

from __future__ import annotations

import pytest

from stream_app.transport.lease import Lease


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(Lease, "now", staticmethod(lambda: now[0]))
    return now


def test_it_lasts_less_than_the_session_counted_from_when_the_heartbeat_was_sent(clock: list[float]) -> None:
    lease = Lease(10.0)
    assert not lease.valid
    asked_at = clock[0]
    clock[0] += 3.0  # the answer took long
    lease.renew(asked_at)
    assert lease.valid
    clock[0] = asked_at + 9.0
    assert not lease.valid


def test_an_old_answer_does_not_shorten_it_and_a_revocation_ends_it(clock: list[float]) -> None:
    lease = Lease(10.0)
    lease.renew(clock[0])
    lease.renew(clock[0] - 9.0)
    assert lease.valid
    lease.revoke()
    assert not lease.valid
