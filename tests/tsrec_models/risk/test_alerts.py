"""The life of an alert: what opens, rises, repeats and closes, when, with which id."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tsrec_models.risk.alerts import FLOOD_KIND, AlertError, Rule, Signal, alert_id
from tsrec_models.risk.alerts_book import AlertBook
from tsrec_models.risk.alerts_cap import RateCap
from tsrec_models.risk.alerts_silence import Silence

LEVEL = Rule("drawdown", raise_at=10.0, clear_at=8.0, critical_at=20.0, cooldown_s=60.0)
EVENT = Rule("wash_trade", raise_at=1.0, quiet_s=100.0, cooldown_s=50.0)


def signal(value: float, ts: float, kind: str = "drawdown", subject: str = "a", **more: object) -> Signal:
    return Signal(kind, subject, value, ts, source=f"trades:0:{int(ts * 10)}", **more)  # type: ignore[arg-type]


def statuses(alerts: list) -> list[tuple[str, str]]:
    return [(a.status, a.severity) for a in alerts]


def test_hysteresis_keeps_an_alert_open_between_the_two_thresholds() -> None:
    book = AlertBook([LEVEL])
    assert statuses(book.observe(signal(10, 1))) == [("firing", "warning")]
    assert book.observe(signal(9, 2)) == []
    assert book.observe(signal(11, 3)) == []
    assert statuses(book.observe(signal(7.9, 4))) == [("resolved", "warning")]


def test_the_resolved_alert_has_the_id_of_the_firing_one_and_its_own_source() -> None:
    book = AlertBook([LEVEL])
    (fired,) = book.observe(signal(12, 1))
    (resolved,) = book.observe(signal(1, 5))
    assert fired.alert_id == resolved.alert_id == alert_id("drawdown", "a", "trades:0:10")
    assert (fired.source, resolved.source) == ("trades:0:10", "trades:0:50")
    assert (resolved.first_ts, resolved.value) == (1, 12)


def test_a_rise_to_critical_is_published_once_and_does_not_fall_back() -> None:
    book = AlertBook([LEVEL])
    book.observe(signal(12, 1))
    (risen,) = book.observe(signal(25, 2))
    assert (risen.severity, risen.value, risen.threshold) == ("critical", 25, 20)
    assert book.observe(signal(30, 3)) == []
    assert book.observe(signal(12, 4)) == []
    assert statuses(book.observe(signal(1, 5))) == [("resolved", "critical")]


def test_pending_needs_the_whole_time_above_and_starts_again_after_a_dip() -> None:
    book = AlertBook([Rule("rate", 10.0, pending_s=30.0)])
    assert book.observe(signal(11, 0, "rate")) == []
    assert book.observe(signal(9, 20, "rate")) == []
    assert book.observe(signal(11, 25, "rate")) == []
    assert book.observe(signal(11, 50, "rate")) == []
    assert statuses(book.observe(signal(11, 55, "rate"))) == [("firing", "warning")]


def test_pending_opens_by_event_time_alone() -> None:
    book = AlertBook([Rule("rate", 10.0, pending_s=30.0)])
    book.observe(signal(11, 0, "rate"))
    assert book.advance(29.0, "trades:0:9") == []
    (alert,) = book.advance(30.0, "trades:0:10")
    assert alert.first_ts == 0


def test_within_the_cooldown_only_a_worse_severity_opens_again() -> None:
    book = AlertBook([LEVEL])
    book.observe(signal(12, 1))
    book.observe(signal(1, 2))
    assert book.observe(signal(12, 10)) == []
    assert book.observe(signal(1, 11)) == []
    assert statuses(book.observe(signal(25, 20))) == [("firing", "critical")]


def test_a_level_that_rose_within_the_cooldown_and_stayed_opens_when_it_ends() -> None:
    book = AlertBook([LEVEL])
    book.observe(signal(12, 1))
    book.observe(signal(1, 2))
    assert book.observe(signal(13, 30)) == []
    assert book.advance(61.0, "trades:0:610") == []
    (alert,) = book.advance(62.0, "trades:0:620")
    assert (alert.status, alert.value, alert.first_ts) == ("firing", 13, 30)


def test_an_event_within_the_cooldown_is_late_not_lost_unless_it_is_old_by_then() -> None:
    book = AlertBook([EVENT])
    book.observe(signal(1, 0, "wash_trade"))
    book.advance(100.0, "trades:0:1000")  # closes: nothing came for 100 s
    assert book.observe(signal(1, 110, "wash_trade")) == []
    (alert,) = book.advance(150.0, "trades:0:1500")  # the cooldown of 50 s is over
    assert (alert.status, alert.first_ts) == ("firing", 110)
    short = AlertBook([Rule("wash_trade", 1.0, quiet_s=5.0, cooldown_s=50.0)])
    short.observe(signal(1, 0, "wash_trade"))
    short.advance(5.0, "trades:0:50")
    short.observe(signal(1, 10, "wash_trade"))
    assert short.advance(60.0, "trades:0:600") == []


def test_a_level_that_fell_again_within_the_cooldown_stays_quiet() -> None:
    book = AlertBook([LEVEL])
    for value, ts in ((12, 1), (1, 2), (13, 30), (2, 40)):
        book.observe(signal(value, ts))
    assert book.advance(1000.0, "trades:0:10000") == []
    assert book.entries == {}


def test_an_event_alert_ends_when_nothing_came_for_the_quiet_time() -> None:
    book = AlertBook([EVENT])
    book.observe(signal(1, 0, "wash_trade"))
    book.observe(signal(1, 60, "wash_trade"))
    assert book.advance(159.0, "trades:0:1590") == []
    (resolved,) = book.advance(161.0, "trades:0:1610")
    assert (resolved.status, resolved.evidence["occurrences"]) == ("resolved", 2)


def test_repeats_come_at_their_interval_and_stop_when_acknowledged() -> None:
    book = AlertBook([Rule("rate", 10.0, repeat_s=100.0)])
    (fired,) = book.observe(signal(11, 0, "rate"))
    assert book.observe(signal(11, 99, "rate")) == []
    assert len(book.observe(signal(11, 100, "rate"))) == 1
    book.acknowledge(fired.alert_id, "ann", 150.0)
    assert book.observe(signal(11, 300, "rate")) == []
    (resolved,) = book.observe(signal(1, 301, "rate"))
    assert resolved.evidence["acknowledged_by"] == "ann"


def test_acknowledging_what_is_not_open_is_an_error() -> None:
    book = AlertBook([LEVEL])
    (fired,) = book.observe(signal(12, 1))
    book.observe(signal(1, 2))
    with pytest.raises(AlertError, match="not open"):
        book.acknowledge(fired.alert_id, "ann", 3.0)


def test_a_silence_mutes_warnings_but_not_critical_ones() -> None:
    book = AlertBook([LEVEL])
    book.silence(Silence("s1", until_ts=100.0, kind="drawdown"))
    assert book.observe(signal(12, 1)) == []
    assert statuses(book.observe(signal(25, 2))) == [("firing", "critical")]


def test_what_was_muted_and_is_still_open_is_heard_when_the_silence_ends() -> None:
    book = AlertBook([LEVEL])
    book.silence(Silence("s1", until_ts=100.0, subject="a"))
    book.observe(signal(12, 1))
    book.observe(signal(12, 1, subject="b"))
    assert [(a.subject, a.first_ts) for a in book.advance(100.0, "trades:0:1000")] == [("a", 1)]
    assert book.silences == {}


def test_nobody_hears_the_end_of_an_alert_that_was_never_heard_of() -> None:
    book = AlertBook([LEVEL])
    book.silence(Silence("s1", until_ts=100.0, subject="a"))
    book.observe(signal(12, 1))
    assert book.observe(signal(1, 2)) == []


def test_a_silence_of_everything_is_refused() -> None:
    with pytest.raises(AlertError, match="everything"):
        Silence("s1", until_ts=1.0)


def test_over_the_cap_comes_one_summary_not_a_flood() -> None:
    book = AlertBook([EVENT, LEVEL], RateCap(per_kind=3, total=100, window_s=1000.0))
    out = [a for n in range(50) for a in book.observe(signal(1, 1 + n / 10, "wash_trade", f"acc-{n}"))]
    assert [a.kind for a in out] == ["wash_trade"] * 3 + [FLOOD_KIND]
    (ended, *_) = book.advance(1000.0, "trades:0:99999")
    assert (ended.kind, ended.status, ended.value) == (FLOOD_KIND, "resolved", 47)
    assert "47 wash_trade" in ended.message
    assert ended.alert_id == out[3].alert_id


def test_a_flood_of_warnings_does_not_hide_a_critical_alert() -> None:
    book = AlertBook([EVENT, LEVEL], RateCap(per_kind=3, total=3, window_s=1000.0))
    for n in range(50):
        book.observe(signal(1, 1 + n / 10, "wash_trade", f"acc-{n}"))
    assert statuses(book.observe(signal(30, 10))) == [("firing", "critical")]


def test_a_held_level_gets_its_turn_in_the_next_window_worst_first() -> None:
    book = AlertBook([LEVEL], RateCap(per_kind=1, total=1, critical=1, window_s=100.0))
    book.observe(signal(12, 1, subject="a"))
    book.observe(signal(12, 2, subject="b"))
    book.observe(signal(25, 3, subject="c"))
    book.observe(signal(26, 4, subject="d"))
    out = book.advance(100.0, "trades:0:1000")
    assert [(a.kind, a.subject) for a in out] == [(FLOOD_KIND, "all"), ("drawdown", "d"), ("drawdown", "b")]


def test_a_replayed_signal_changes_nothing_and_gives_the_same_alert_again() -> None:
    book = AlertBook([LEVEL])
    first = book.observe(signal(12, 1))
    book.observe(signal(15, 2))
    before = book.entries["drawdown|a"].row()
    assert book.observe(signal(12, 1))[0].alert_id == first[0].alert_id
    assert book.observe(signal(15, 2)) == []
    assert book.entries["drawdown|a"].row() == before


def test_a_signal_without_a_rule_says_so() -> None:
    with pytest.raises(AlertError, match="no rule"):
        AlertBook([LEVEL]).observe(signal(1, 1, "other"))


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(AlertError, match="nan"):
        AlertBook([LEVEL]).observe(signal(float("nan"), 1))


@pytest.mark.parametrize(
    "bad",
    [{"clear_at": 11.0}, {"critical_at": 9.0}, {"cooldown_s": -1.0}, {"kind": "a|b"}, {"severity": "loud"}],
)
def test_a_rule_that_cannot_work_is_refused(bad: dict) -> None:
    with pytest.raises(AlertError):
        Rule(**{"kind": "x", "raise_at": 10.0, **bad})


RULES = [LEVEL, EVENT, Rule("rate", 10.0, clear_at=5.0, pending_s=5.0, repeat_s=20.0, cooldown_s=10.0)]


def random_stream(seed: int, n: int) -> list[Signal]:
    rng, ts, out = random.Random(seed), 0.0, []
    for offset in range(n):
        ts += rng.expovariate(0.5)
        kind, subject = rng.choice(["drawdown", "wash_trade", "rate"]), rng.choice("abc")
        value = rng.choice([0.0, 6.0, 9.0, 12.0, 22.0])
        out.append(Signal(kind, subject, value, ts, source=f"trades:0:{offset}"))
    return out


def run(book: AlertBook, stream: list[Signal]) -> list:
    out = []
    for s in stream:
        out += book.advance(s.ts, s.source) + book.observe(s)
    return out


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 200), cap=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
@example(seed=2761, cut=56, cap=1)
def test_a_book_restored_from_its_rows_goes_on_as_if_nothing_had_happened(seed: int, cut: int, cap: int) -> None:
    stream = random_stream(seed, 200)
    limits = RateCap(per_kind=cap, total=2 * cap, critical=cap, window_s=60.0)
    whole = run(AlertBook(RULES, limits), stream)
    first, table = AlertBook(RULES, limits), {}
    out = []
    for start in range(0, cut, 17):  # a checkpoint every 17 signals: later rows over earlier, as a changelog does
        out += run(first, stream[start : min(start + 17, cut)])
        table |= json.loads(json.dumps(first.take_changes()))
    second = AlertBook(RULES, limits)
    second.restore({key: row for key, row in table.items() if row is not None})
    assert out + run(second, stream[cut:]) == whole


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_an_alert_fires_before_it_resolves_and_resolves_at_most_once(seed: int) -> None:
    state: dict[str, str] = {}
    for alert in run(AlertBook(RULES, RateCap(per_kind=5, total=9, window_s=60.0)), random_stream(seed, 300)):
        if alert.status == "resolved":
            assert state.get(alert.alert_id) == "firing"
        else:
            assert state.get(alert.alert_id) != "resolved"
        state[alert.alert_id] = alert.status


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_one_key_has_at_most_one_open_alert(seed: int) -> None:
    opened: dict[tuple[str, str], str] = {}
    for alert in run(AlertBook(RULES), random_stream(seed, 300)):
        key = (alert.kind, alert.subject)
        if alert.status == "firing":
            assert opened.setdefault(key, alert.alert_id) == alert.alert_id
        else:
            opened.pop(key, None)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_cap_holds_in_every_window(seed: int) -> None:
    cap = RateCap(per_kind=2, total=3, critical=2, window_s=60.0)
    seen: dict[str, int] = {}
    for alert in run(AlertBook(RULES, cap), random_stream(seed, 300)):
        if alert.kind == FLOOD_KIND or alert.status == "resolved":
            continue
        if alert.alert_id not in seen:
            seen[alert.alert_id] = int(alert.source.split(":")[2])
    stream = random_stream(seed, 300)
    windows: dict[int, int] = {}
    for offset in seen.values():
        window = int(stream[offset].ts // cap.window_s)
        windows[window] = windows.get(window, 0) + 1
    assert all(count <= cap.total + cap.critical for count in windows.values())


def test_memory_is_given_back_after_the_cooldown_with_a_tombstone() -> None:
    book = AlertBook([EVENT])
    for n in range(200):
        book.observe(signal(1, n, "wash_trade", f"acc-{n}"))
    book.take_changes()
    book.advance(10_000.0, "trades:0:100000")
    book.advance(20_000.0, "trades:0:200000")
    assert book.entries == {}
    assert sum(row is None for row in book.take_changes().values()) == 200
    assert len(book._due) == 0


def test_a_relative_rule_compares_with_the_threshold_of_the_signal() -> None:
    book = AlertBook([Rule("loss", 1.0, 0.8, critical_at=2.0, relative=True)])
    assert book.observe(signal(90, 1, "loss", threshold=100.0)) == []
    (fired,) = book.observe(signal(110, 2, "loss", threshold=100.0))
    assert (fired.value, fired.threshold, fired.severity) == (110, 100, "warning")
    assert statuses(book.observe(signal(250, 3, "loss", threshold=100.0))) == [("firing", "critical")]
    assert book.observe(signal(85, 4, "loss", threshold=100.0)) == []
    assert statuses(book.observe(signal(79, 5, "loss", threshold=100.0))) == [("resolved", "critical")]
    with pytest.raises(AlertError, match="threshold of its own"):
        book.observe(signal(1, 6, "loss"))
