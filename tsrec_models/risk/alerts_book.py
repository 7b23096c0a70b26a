"""The life of alerts: signals in, alerts to publish out, in event time and in order.

One book serves one ordered stream of signals (a partition of the topic they come by): then the same stream gives the
same alerts. State is kept by key and handed out as rows of plain values (`take_changes`), for a changelog.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from tsrec_models.risk.alerts import FLOOD_KIND, Alert, AlertError, Rule, Severity, Signal, alert_id, rank
from tsrec_models.risk.alerts_cap import CapState, RateCap
from tsrec_models.risk.alerts_entry import Entry, key_of
from tsrec_models.risk.alerts_silence import Silence

__all__ = ["AlertBook"]

_CAP_KEY = "#cap"
_SILENCE_PREFIX = "#silence|"


class AlertBook:
    """Opens, raises, repeats and closes alerts by `rules`, within `cap`.

    `observe` takes one signal, `advance` moves event time on where no signal does; both return the alerts to publish,
    in order. `acknowledge`, `silence` and `unsilence` are what people say to it.
    """

    def __init__(self, rules: Iterable[Rule], cap: RateCap | None = None) -> None:
        self.rules: dict[str, Rule] = {}
        for rule in rules:
            if rule.kind in self.rules:
                raise AlertError(f"two rules of kind {rule.kind!r}: keep one")
            self.rules[rule.kind] = rule
        self.cap = cap or RateCap()
        self.entries: dict[str, Entry] = {}
        self.silences: dict[str, Silence] = {}
        self._cap_state = CapState()
        self._by_id: dict[str, str] = {}
        self._due: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}
        self._changed: dict[str, None] = {}

    # --- signals -----------------------------------------------------------------------------------------------

    def observe(self, signal: Signal) -> list[Alert]:
        """Take one signal; return the alerts that it opens, raises, repeats or closes.

        A signal that this key has taken before changes nothing; what it caused is returned again, with the same id.
        Raises AlertError for a kind without a rule and for a value or time that is not a number.
        """
        rule = self.rules.get(signal.kind)
        if rule is None:
            raise AlertError(f"signal of kind {signal.kind!r} at {signal.source}: no rule of that kind; add one")
        level = rule.level_of(signal)
        key = key_of(signal.kind, signal.subject)
        entry = self.entries.get(key)
        if entry is not None and entry.has_applied(signal.source):
            visible = entry.source == signal.source and entry.published_ts is not None
            return [entry.alert()] if visible and entry.phase in ("firing", "cooling") else []
        out = self._roll(signal.ts, signal.source)
        entry = self.entries.get(key)
        if level >= rule.raise_at:
            out += self._raise(rule, entry, signal)
        elif entry is not None:
            out += self._lower(rule, entry, signal, level)
        entry = self.entries.get(key)
        if entry is not None:
            entry.mark_applied(signal.source)
            self._touch(entry)
        return out

    def advance(self, ts: float, source: str) -> list[Alert]:
        """Event time reached `ts` by the event at `source`: what was pending opens, what went quiet closes."""
        out = self._roll(ts, source) + self._expire_silences(ts, source)
        while self._due and self._due[0][0] <= ts:
            due, key = heapq.heappop(self._due)
            if self._queued.get(key) == due:
                del self._queued[key]
            entry = self.entries.get(key)
            if entry is None:
                continue
            deadline = self._deadline(entry)
            if deadline > due:
                # Not yet, or after others: in the order of what is due, however long ago it was queued.
                self._queue(entry)
            elif entry.phase == "pending":
                out += self._open(entry, deadline, source)
                self._touch(entry)
            elif entry.is_open:
                out += self._close(entry, deadline, source)
                self._touch(entry)
            else:
                out += self._cooled(entry, deadline, source)
        return out

    def _cooled(self, entry: Entry, ts: float, source: str) -> list[Alert]:
        """The cooldown is over: what came back within it, and neither fell nor went quiet since, opens a new alert."""
        again, applied = entry.again, entry.applied
        self._forget(entry)
        rule = self.rules[entry.kind]
        if again is None or ts - again["ts"] >= rule.quiet_s:
            return []
        signal = Signal(**again)
        fresh = self._new_entry(rule, signal, rule.severity_of(signal))
        fresh.applied = applied
        out = self._open(fresh, ts, source) if ts - signal.ts >= rule.pending_s else []
        self._touch(fresh)
        return out

    def _raise(self, rule: Rule, entry: Entry | None, signal: Signal) -> list[Alert]:
        severity = rule.severity_of(signal)
        if entry is not None and entry.phase == "cooling":
            assert entry.closed_ts is not None
            cooled = signal.ts - entry.closed_ts >= rule.cooldown_s
            if not cooled and rank(severity) <= rank(entry.severity):
                # A detector speaks when a line is crossed, once: what rose now must be late rather than lost.
                if entry.again is None or signal.value >= entry.again["value"]:
                    entry.again = asdict(signal)
                return []
            self._forget(entry)
            entry = None
        if entry is None:
            entry = self._new_entry(rule, signal, severity)
            return self._open(entry, signal.ts, signal.source) if rule.pending_s == 0 else []
        entry.occurrences += 1
        entry.level = signal.value
        entry.first_ts, entry.last_ts = min(entry.first_ts, signal.ts), max(entry.last_ts, signal.ts)
        risen = rank(severity) > rank(entry.severity)
        if risen or signal.value > entry.value:
            entry.value, entry.message = max(entry.value, signal.value), signal.message
            entry.evidence = dict(signal.evidence)
            entry.threshold = rule.threshold_of(signal)
        if risen:
            entry.severity = severity
        if entry.phase == "pending":
            held_for = signal.ts - entry.first_ts
            return self._open(entry, signal.ts, signal.source) if held_for >= rule.pending_s else []
        if entry.phase in ("held", "muted"):
            return self._open(entry, signal.ts, signal.source)
        assert entry.published_ts is not None
        is_due = entry.acknowledged_by is None and signal.ts - entry.published_ts >= rule.repeat_s
        return self._publish(entry, signal.ts, signal.source) if risen or is_due else []

    def _lower(self, rule: Rule, entry: Entry, signal: Signal, level: float) -> list[Alert]:
        entry.level = signal.value
        if entry.phase == "pending":
            self._forget(entry)
        elif entry.phase == "cooling":
            entry.again = None
        elif entry.is_open and level < rule.clears_below:
            return self._close(entry, signal.ts, signal.source)
        return []

    def _new_entry(self, rule: Rule, signal: Signal, severity: Severity) -> Entry:
        entry = Entry(
            kind=signal.kind,
            subject=signal.subject,
            phase="pending",
            alert_id=alert_id(signal.kind, signal.subject, signal.source),
            severity=severity,
            value=signal.value,
            level=signal.value,
            threshold=rule.threshold_of(signal),
            message=signal.message,
            evidence=dict(signal.evidence),
            first_ts=signal.ts,
            last_ts=signal.ts,
            source=signal.source,
        )
        self.entries[entry.key] = entry
        self._by_id[entry.alert_id] = entry.key
        return entry

    # --- transitions -------------------------------------------------------------------------------------------

    def _open(self, entry: Entry, ts: float, source: str) -> list[Alert]:
        """Make the alert heard, unless it is silenced or over the cap."""
        if self._is_silenced(entry, ts):
            entry.phase = "muted"
            return []
        if self._cap_state.window is None:
            self._cap_state.open(self.cap, ts)
        self._changed[_CAP_KEY] = None
        if self._cap_state.admit(self.cap, entry.kind, entry.severity):
            return self._publish(entry, ts, source)
        was_held = entry.phase == "held"
        entry.phase = "held"
        if was_held:
            return []
        first = self._cap_state.hold(entry.kind, entry.subject, entry.severity, ts, source)
        return [self._flood_alert("firing", ts, source)] if first else []

    def _publish(self, entry: Entry, ts: float, source: str) -> list[Alert]:
        entry.phase, entry.published_ts, entry.source = "firing", ts, source
        return [entry.alert()]

    def _close(self, entry: Entry, ts: float, source: str) -> list[Alert]:
        """A closed alert is published only if its opening was: nobody hears the end of what they never heard of."""
        was_heard = entry.published_ts is not None
        entry.phase, entry.closed_ts, entry.source = "cooling", ts, source
        return [entry.alert()] if was_heard else []

    def _roll(self, ts: float, source: str) -> list[Alert]:
        """Close the cap's window if `ts` is beyond it: the summary ends, and what is still held gets its turn."""
        if not self._cap_state.is_over(self.cap, ts):
            return []
        out = [self._flood_alert("resolved", ts, source)] if self._cap_state.held else []
        self._cap_state.open(self.cap, ts)
        self._changed[_CAP_KEY] = None
        held = [entry for entry in self.entries.values() if entry.phase == "held" and self._deadline(entry) > ts]
        for entry in sorted(held, key=lambda e: (-rank(e.severity), e.first_ts, e.key)):
            if self._cap_state.admit(self.cap, entry.kind, entry.severity):
                out += self._publish(entry, ts, source)
                self._touch(entry)
        return out

    def _flood_alert(self, status: str, ts: float, source: str) -> Alert:
        state = self._cap_state
        return Alert(
            alert_id=alert_id(FLOOD_KIND, "all", state.source),
            kind=FLOOD_KIND,
            subject="all",
            severity=state.held_severity,
            status="firing" if status == "firing" else "resolved",
            value=float(state.held_total),
            threshold=float(self.cap.critical if state.held_severity == "critical" else self.cap.per_kind),
            message=state.summary(self.cap),
            evidence={"held": dict(state.held), "first_subjects": list(state.held_subjects)},
            first_ts=state.first_ts,
            last_ts=max(ts, state.last_ts) if status == "firing" else state.last_ts,
            source=source,
        )

    def _is_silenced(self, entry: Entry, ts: float) -> bool:
        return any(s.covers(entry.kind, entry.subject, entry.severity, ts) for s in self.silences.values())

    def _deadline(self, entry: Entry) -> float:
        """Event time at which something happens to the entry without a signal."""
        rule = self.rules[entry.kind]
        if entry.phase == "pending":
            return entry.first_ts + rule.pending_s
        if entry.phase == "cooling":
            assert entry.closed_ts is not None
            return entry.closed_ts + rule.cooldown_s
        return entry.last_ts + rule.quiet_s

    def _touch(self, entry: Entry) -> None:
        """Note the entry as changed, and when it is due next."""
        self._changed[entry.key] = None
        self._queue(entry)

    def _queue(self, entry: Entry) -> None:
        """One place in the queue a key, unless it has become due earlier than thought."""
        deadline = self._deadline(entry)
        if deadline < self._queued.get(entry.key, math.inf):
            self._queued[entry.key] = deadline
            heapq.heappush(self._due, (deadline, entry.key))

    def _forget(self, entry: Entry) -> None:
        del self.entries[entry.key]
        self._by_id.pop(entry.alert_id, None)
        self._changed[entry.key] = None

    # --- people ------------------------------------------------------------------------------------------------

    def acknowledge(self, alert_id: str, by: str, ts: float) -> Alert:
        """Someone has taken the alert on: no repeats from now on, only a rise in severity. Raises AlertError for an id
        that is not open."""
        entry = self.find(alert_id)
        if entry is None or not entry.is_open:
            raise AlertError(f"alert {alert_id!r} is not open: it may have been resolved; nothing to acknowledge")
        entry.acknowledged_by, entry.acknowledged_ts = by, ts
        self._changed[entry.key] = None
        return entry.alert()

    def silence(self, silence: Silence) -> None:
        """Mute what `silence` covers, from now on; alerts already heard of still resolve."""
        self.silences[silence.silence_id] = silence
        self._changed[_SILENCE_PREFIX + silence.silence_id] = None

    def unsilence(self, silence_id: str, ts: float, source: str) -> list[Alert]:
        """End a silence at event time `ts`; return the alerts that it had muted and that are still open."""
        if self.silences.pop(silence_id, None) is None:
            raise AlertError(f"silence {silence_id!r} does not exist: it may have ended already")
        self._changed[_SILENCE_PREFIX + silence_id] = None
        return self._unmute(ts, source)

    def _expire_silences(self, ts: float, source: str) -> list[Alert]:
        ended = [silence_id for silence_id, silence in self.silences.items() if silence.until_ts <= ts]
        for silence_id in ended:
            del self.silences[silence_id]
            self._changed[_SILENCE_PREFIX + silence_id] = None
        return self._unmute(ts, source) if ended else []

    def _unmute(self, ts: float, source: str) -> list[Alert]:
        out: list[Alert] = []
        muted = [entry for entry in self.entries.values() if entry.phase == "muted"]
        for entry in sorted(muted, key=lambda e: (-rank(e.severity), e.first_ts, e.key)):
            out += self._open(entry, ts, source)
            self._touch(entry)
        return out

    def find(self, alert_id: str) -> Entry | None:
        """The alert of this id, from its first signal to the end of its cooldown; None where there is none."""
        return self.entries.get(self._by_id.get(alert_id, ""))

    def open_alerts(self, subject: str | None = None) -> list[Entry]:
        """Open alerts (of `subject`), worst first, then oldest. A muted or held one is open too: it is a fact about the
        subject, whoever has heard of it."""
        found = [e for e in self.entries.values() if e.is_open and (subject is None or e.subject == subject)]
        return sorted(found, key=lambda e: (-rank(e.severity), e.first_ts, e.key))

    # --- changelog ---------------------------------------------------------------------------------------------

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Rows changed since the last call, by key; None is a tombstone."""
        changes: dict[str, dict[str, Any] | None] = {}
        for key in self._changed:
            if key == _CAP_KEY:
                changes[key] = self._cap_state.row()
            elif key.startswith(_SILENCE_PREFIX):
                silence = self.silences.get(key.removeprefix(_SILENCE_PREFIX))
                changes[key] = None if silence is None else silence.row()
            else:
                entry = self.entries.get(key)
                changes[key] = None if entry is None else entry.row()
        self._changed.clear()
        return changes

    def restore(self, rows: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Take rows of `take_changes` back, the later ones over the earlier."""
        for key, row in rows.items():
            if key == _CAP_KEY:
                self._cap_state = CapState() if row is None else CapState.from_row(row)
            elif key.startswith(_SILENCE_PREFIX):
                self.silences.pop(key.removeprefix(_SILENCE_PREFIX), None)
                if row is not None:
                    self.silences[row["silence_id"]] = Silence.from_row(row)
            else:
                old = self.entries.pop(key, None)
                if old is not None:
                    self._by_id.pop(old.alert_id, None)
                if row is not None:
                    entry = Entry.from_row(row)
                    self.entries[key] = entry
                    self._by_id[entry.alert_id] = key
                    self._touch(entry)
        self._changed.clear()
