"""A user's own demand for items taken before: a distributed lag over the user's events, learned with the network."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from tsrec_models.sequence.intervals import N_BUCKETS
from tsrec_models.sequence.training_loss import SparseScores

__all__ = ["MEMORY", "OWN_WIDTH", "PLACES", "OwnDemand", "add_own_demand", "remember"]

#: Latest events of a user whose items are remembered.
MEMORY = 256

#: Logarithmic classes of how many events ago one was: 1, 2 to 3, 4 to 7, and so on to MEMORY.
PLACES = 9

#: Columns of a state row: slot of the next event and events kept; of each event its item and the two of its clock.
OWN_WIDTH = 2 + 3 * MEMORY

#: A response is a parameter times this: steps of the size that suits item vectors would take it to its place too late.
_SCALE = 8.0


class OwnDemand(nn.Module):
    """log demand of item i by a user = sum over the user's events with i of response(events ago) + response(time ago).

    An autoregression of the item's series in the user's own history, as a distributed lag with logarithmic lags
    (Almon, 1965, has polynomials). It may be negative: what is never taken twice. All responses start at zero.
    """

    def __init__(self, with_times: bool) -> None:
        super().__init__()
        self.by_place = nn.Parameter(torch.zeros(PLACES))
        self.by_time = nn.Parameter(torch.zeros(N_BUCKETS)) if with_times else None

    def forward(self, items: Tensor, valid: Tensor, elapsed: Tensor | None, n_items: int) -> SparseScores:
        """What is added to the scores at each `valid` [batch, length] event of `items` [batch, length], in that order.

        elapsed [batch, length, length] interval buckets from event to event. Items from n_items on are not known.
        """
        places = places_between(items.shape[1], items.device)
        shown = valid[:, :, None] & (items < n_items)[:, None] & (places > 0)
        row, now, before = shown.nonzero(as_tuple=True)
        values = self.by_place[places[now, before] - 1]
        if self.by_time is not None and elapsed is not None:
            values = values + self.by_time[elapsed[row, now, before]]
        ends = shown.sum(-1)[valid].cumsum(0)
        return SparseScores(items[row, before], _SCALE * values, torch.cat([ends.new_zeros(1), ends]))

    def responses(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Responses by place [PLACES] and by interval bucket [N_BUCKETS], as `add_own_demand` reads them."""
        by_time = np.zeros(N_BUCKETS, np.float32)
        if self.by_time is not None:
            by_time[:] = _SCALE * self.by_time.detach().float().cpu().numpy()
        return (_SCALE * self.by_place.detach().float().cpu().numpy()).astype(np.float32), by_time


def places_between(length: int, device: torch.device) -> Tensor:
    """Class, from 1 on, of how many events before event i (row) event j is, itself the first; 0 where j is after i."""
    position = torch.arange(length, device=device)
    ago = (position[:, None] - position[None] + 1).clamp_min(0)
    return torch.frexp(ago.double())[1].long().clamp_max(PLACES) * (ago > 0)


@njit(cache=True)  # type: ignore[untyped-decorator]
def add_own_demand(
    own: NDArray[np.float32],
    clock: NDArray[np.float32],
    by_place: NDArray[np.float32],
    by_time: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> None:
    """Add to `scores` [batch, n_items] what `own` [batch, OWN_WIDTH] says at the last events' `clock` [batch, 2]."""
    memory = (own.shape[1] - 2) // 3
    n_items = scores.shape[1]
    for i in range(len(own)):
        slot, kept = int(own[i, 0]), int(own[i, 1])
        now = clock[i, 0] * 86400.0 + np.float64(clock[i, 1])
        for ago in range(1, kept + 1):
            column = 2 + 3 * ((slot - ago) % memory)
            item = int(own[i, column])
            if item < n_items:
                before = own[i, column + 1] * 86400.0 + np.float64(own[i, column + 2])
                seconds = min(max(now - before, 0.0), 2.0**30 - 1.5)
                place = min(math.frexp(float(ago))[1], len(by_place))
                scores[i, item] += by_place[place - 1] + by_time[math.frexp(1.0 + seconds)[1]]


@njit(cache=True)  # type: ignore[untyped-decorator]
def remember(
    table: NDArray[np.float32],
    rows: NDArray[np.int64],
    first: int,
    items: NDArray[np.int64],
    clock: NDArray[np.float32],
    memory: int,
) -> None:
    """Write one event each into the memories of `rows`, which begin at column `first` of the table."""
    for i in range(len(rows)):
        own = table[rows[i], first : first + 2 + 3 * memory]
        slot = int(own[0])
        own[2 + 3 * slot] = items[i]
        own[3 + 3 * slot], own[4 + 3 * slot] = clock[i, 0], clock[i, 1]
        own[0] = (slot + 1) % memory
        own[1] = min(own[1] + 1, memory)
