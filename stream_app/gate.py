"""Who is under a critical alert: recommendations ask before they promote anything."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["Gate", "Place"]

#: Where an alert is kept: a detector and a partition.
Place = tuple[str, int]


class Gate:
    """Open critical alerts of users and accounts, of the kinds that hold promotions back.

    It knows the partitions of this worker; a user's clicks and an account of the same id are in the same partition.
    kinds: which alerts gate; empty: every kind.
    """

    def __init__(self, kinds: Collection[str] = ()) -> None:
        self._kinds = frozenset(kinds)
        self._open: dict[str, dict[tuple[Place, str], str]] = {}

    def withheld(self, user_id: str) -> str | None:
        """Why promotions are held back from this user, in a sentence; None where nothing is."""
        alerts = self._open.get(user_id)
        if not alerts:
            return None
        return "; ".join(sorted(alerts.values()))

    def set(self, place: Place, kind: str, subject: str, alert_id: str | None) -> None:
        """The critical alert of a kind and subject that is open at `place`; None: there is none."""
        if self._kinds and kind not in self._kinds:
            return
        key = (place, kind)
        if alert_id is not None:
            self._open.setdefault(subject, {})[key] = f"critical alert {kind} ({alert_id})"
        elif subject in self._open:
            self._open[subject].pop(key, None)
            if not self._open[subject]:
                del self._open[subject]

    def forget(self, place: Place) -> None:
        """Forget what is known of a place that is held no longer, or read anew."""
        for subject in list(self._open):
            kept = {key: why for key, why in self._open[subject].items() if key[0] != place}
            if kept:
                self._open[subject] = kept
            else:
                del self._open[subject]

    def __len__(self) -> int:
        return len(self._open)
