"""How much one client may ask for: a token bucket an address, and a share of the connections."""

from __future__ import annotations

from collections import Counter, OrderedDict

__all__ = ["Connections", "RateLimit"]

#: Addresses remembered; of more, the one that was quiet longest begins anew with a full bucket.
MAX_CLIENTS = 10_000

#: A bucket holds the requests of so many seconds: a page that loads asks for several things at once.
BURST_S = 2.0


class RateLimit:
    """A bucket of `BURST_S * rate` requests for each client, refilled at `rate` a second. rate 0: no limit.

    >>> limit = RateLimit(1.0)
    >>> [limit.take("a", 0.0), limit.take("a", 0.0), limit.take("a", 0.0), limit.take("a", 1.0)]
    [0.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._capacity = max(1.0, BURST_S * rate)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float, cost: float = 1.0) -> float:
        """Take `cost` requests at `now`, seconds; 0.0 if there were so many, else the seconds until there are."""
        if self.rate <= 0:
            return 0.0
        held, since = self._clients.pop(client, (self._capacity, now))
        held = min(self._capacity, held + (now - since) * self.rate)
        cost = min(cost, self._capacity)
        wait_s = 0.0 if held >= cost else (cost - held) / self.rate
        self._clients[client] = (held - cost if wait_s == 0.0 else held, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return wait_s


class Connections:
    """Open connections: at most `most`, and half of them from one address."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = 0
        self._by_client: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        """Whether `client` may have one more; if so it is counted until `leave`."""
        if self.open >= self.most or self._by_client[client] >= max(1, self.most // 2):
            return False
        self.open += 1
        self._by_client[client] += 1
        return True

    def leave(self, client: str) -> None:
        """A connection of `client` has ended."""
        self.open -= 1
        self._by_client[client] -= 1
        if self._by_client[client] <= 0:
            del self._by_client[client]
