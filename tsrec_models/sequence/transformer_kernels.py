"""A Transformer's step over rows of a state table: rings of cached keys and values, and of the times they were of."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["attend_rings", "elapsed_in_rings", "move_rings"]


@njit(cache=True, fastmath={"contract", "nsz", "reassoc"})  # type: ignore[untyped-decorator]
def attend_rings(
    table: NDArray[np.float32],
    rows: NDArray[np.int64],
    offset: int,
    qkv: NDArray[np.float32],
    elapsed: NDArray[np.int64],
    distance_bias: NDArray[np.float32],
    time_bias: NDArray[np.float32],
    ring_column: int,
    result: NDArray[np.float32],
) -> None:
    """Write each row's key and value into its ring at `offset`, and attend over the ring: `result` [batch, width].

    A ring holds `window` keys of `width` floats, then as many values. elapsed [batch, window] are the interval buckets
    of the slots. Softmax by the running maximum (Milakov and Gimelshein, 2018): one pass over keys and values.
    """
    heads, window = distance_bias.shape
    width = result.shape[1]
    part = width // heads
    scale = np.float32(1.0 / math.sqrt(part))
    for i in range(len(rows)):
        state = table[rows[i]]
        slot = int(state[ring_column])
        kept = min(int(state[ring_column + 1]) + 1, window)
        keys = state[offset : offset + window * width]
        values = state[offset + window * width : offset + 2 * window * width]
        for j in range(width):
            keys[slot * width + j] = qkv[i, width + j]
            values[slot * width + j] = qkv[i, 2 * width + j]
        for head in range(heads):
            first = head * part
            query = qkv[i, first : first + part]
            mixed = result[i, first : first + part]
            mixed[:] = np.float32(0.0)
            top = np.float32(-1e30)
            total = np.float32(0.0)
            at = slot
            for distance in range(kept):
                key = keys[at * width + first : at * width + first + part]
                score = np.float32(0.0)
                for j in range(part):
                    score += query[j] * key[j]
                score = score * scale + distance_bias[head, distance] + time_bias[head, elapsed[i, at]]
                if score > top:
                    shrink = np.float32(math.exp(top - score))
                    top = score
                    total *= shrink
                    for j in range(part):
                        mixed[j] *= shrink
                weight = np.float32(math.exp(score - top))
                total += weight
                value = values[at * width + first : at * width + first + part]
                for j in range(part):
                    mixed[j] += weight * value[j]
                at = at - 1 if at > 0 else window - 1
            for j in range(part):
                mixed[j] /= total


@njit(cache=True)  # type: ignore[untyped-decorator]
def move_rings(
    table: NDArray[np.float32],
    rows: NDArray[np.int64],
    ring_column: int,
    window: int,
    clock: NDArray[np.float32],
    with_times: bool,
    output: NDArray[np.float32],
) -> None:
    """Close a step: clock and output into the rows, ring positions one on."""
    for i in range(len(rows)):
        state = table[rows[i]]
        slot = int(state[ring_column])
        state[0], state[1] = clock[i, 0], clock[i, 1]
        if with_times:
            state[ring_column + 2 + 2 * slot] = clock[i, 0]
            state[ring_column + 3 + 2 * slot] = clock[i, 1]
        state[ring_column] = (slot + 1) % window
        state[ring_column + 1] = min(state[ring_column + 1] + 1, window)
        state[len(state) - output.shape[1] :] = output[i]


@njit(cache=True)  # type: ignore[untyped-decorator]
def elapsed_in_rings(
    table: NDArray[np.float32], rows: NDArray[np.int64], ring_column: int, times: NDArray[np.float64], window: int
) -> NDArray[np.int64]:
    """Interval buckets [batch, window] from each slot's event to now; the slot being written is at zero seconds."""
    result = np.ones((len(rows), window), np.int64)
    for i in range(len(rows)):
        state = table[rows[i]]
        slot, kept = int(state[ring_column]), int(state[ring_column + 1])
        for s in range(window):
            if s == slot or (kept < window and s >= kept):
                continue
            column = ring_column + 2 + 2 * s
            before = state[column] * 86400.0 + np.float64(state[column + 1])
            seconds = min(max(times[i] - before, 0.0), 2.0**30 - 1.5)
            result[i, s] = math.frexp(1.0 + seconds)[1]
    return result
