"""State of surveillance: one row an account, one a symbol, one a position; each table is a structured array.

A row lies in one piece of memory: a trade touches one account's row and one symbol's, and a row's bytes are what goes
to a changelog. Rows are dense indices that the stream's own tables give out; tables grow by doubling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsrec_models.risk.surveillance_settings import ACCOUNT_KINDS, SYMBOL_KINDS, SurveillanceError

__all__ = [
    "MATERIAL",
    "PAIRS",
    "RECENT_SIZES",
    "RING",
    "SIZE_BINS",
    "SPIKE_RING",
    "TAIL_BINS",
    "VELOCITY_BUCKETS",
    "Table",
    "accounts",
    "grow",
    "pack",
    "positions",
    "symbols",
    "unpack",
]

#: A structured array; its fields are those of ACCOUNT, SYMBOL or POSITION.
Table = NDArray[np.void]

#: Trades remembered of an account (or a group of linked ones), for wash pairs and evidence.
RING = 32
#: Pairs of a wash alert's evidence, latest first out.
PAIRS = 8
#: Orders of material size remembered of an account, for structuring.
MATERIAL = 16
VELOCITY_BUCKETS = 12
#: Price buckets remembered of a symbol: the window has ten.
SPIKE_RING = 16
#: Hashed counters of exact trade sizes of a symbol. Sizes that share one look more common than they are.
SIZE_BINS = 4096
#: Sizes of the latest orders of a symbol: some come in bursts.
RECENT_SIZES = 256
#: Quarter octaves of order amounts of a symbol: 2^-32 to 2^32.
TAIL_BINS = 256


#: One account; the wash fields and the ring are used in the row of its group.
ACCOUNT = np.dtype(
    [
        ("group", "i8"),
        ("order_ts", "f8"),
        ("order_symbol", "i8"),
        ("order_side", "i1"),
        ("order_amount", "f8"),
        ("velocity_counts", "i4", (VELOCITY_BUCKETS,)),
        ("velocity_bucket", "i8"),
        ("usual_orders", "f8"),
        ("usual_buckets", "f8"),
        ("ring_head", "i8"),
        ("ring_ts", "f8", (RING,)),
        ("ring_price", "f8", (RING,)),
        ("ring_quantity", "f8", (RING,)),
        ("ring_source", "i8", (RING,)),
        ("ring_symbol", "i8", (RING,)),
        ("ring_account", "i8", (RING,)),
        ("ring_side", "i1", (RING,)),
        ("ring_paired", "i1", (RING,)),
        ("wash_score", "f8"),
        ("wash_ts", "f8"),
        ("wash_pairs", "i8"),
        ("pair_source", "i8", (2 * PAIRS,)),
        ("material_head", "i8"),
        ("material_ts", "f8", (MATERIAL,)),
        ("material_amount", "f8", (MATERIAL,)),
        ("material_source", "i8", (MATERIAL,)),
        ("material_symbol", "i8", (MATERIAL,)),
        ("material_side", "i1", (MATERIAL,)),
        ("realised", "f8"),
        ("unrealised", "f8"),
        ("exposure", "f8"),
        ("peak", "f8"),
        ("top_exposure", "f8"),
        ("top_symbol", "i8"),
        ("raised", "i1", (len(ACCOUNT_KINDS),)),
        ("told", "f8", (len(ACCOUNT_KINDS),)),
    ],
    align=True,
)
#: One symbol.
SYMBOL = np.dtype(
    [
        ("price", "f8"),
        ("bucket", "i8"),
        ("close", "f8", (SPIKE_RING,)),
        ("traded_ts", "f8", (SPIKE_RING,)),
        ("windows", "i8"),
        ("spike_var", "f8"),
        ("turn_var", "f8"),
        ("lagged_spike_var", "f8", (SPIKE_RING,)),
        ("lagged_turn_var", "f8", (SPIKE_RING,)),
        ("order_ts", "f8"),
        ("order_side", "i1"),
        ("order_amount", "f8"),
        ("order_source", "i8"),
        ("orders", "f8"),
        ("tail", "f4", (TAIL_BINS,)),
        ("large_from", "f8"),
        ("large_share", "f8"),
        ("seen_from", "f8"),
        ("seen_orders", "f8"),
        ("sizes", "f4", (SIZE_BINS,)),
        ("size_total", "f8"),
        ("recent_sizes", "f8", (RECENT_SIZES,)),
        ("recent_head", "i8"),
        ("raised", "i1", (len(SYMBOL_KINDS),)),
        ("told", "f8", (len(SYMBOL_KINDS),)),
    ],
    align=True,
)
#: What an account holds of a symbol, at average cost: a row, found by a hash index.
POSITION = np.dtype(
    [
        ("account", "i8"),
        ("symbol", "i8"),
        ("quantity", "f8"),
        ("cost", "f8"),
        ("mark", "f8"),
    ],
    align=True,
)


def accounts(n: int) -> Table:
    """`n` accounts that have not traded, each a group of its own."""
    table = np.zeros(n, dtype=ACCOUNT)
    table["group"] = np.arange(n)
    for name in ("order_ts", "ring_ts", "wash_ts", "material_ts"):
        table[name] = -np.inf
    for name in (
        "order_symbol",
        "ring_source",
        "ring_symbol",
        "ring_account",
        "pair_source",
        "material_source",
        "material_symbol",
        "top_symbol",
    ):
        table[name] = -1
    table["velocity_bucket"] = np.iinfo(np.int64).min
    return table


def symbols(n: int) -> Table:
    """`n` symbols without trades."""
    table = np.zeros(n, dtype=SYMBOL)
    for name in ("price", "close", "traded_ts", "spike_var", "turn_var", "lagged_spike_var", "lagged_turn_var"):
        table[name] = np.nan
    table["bucket"] = np.iinfo(np.int64).min
    table["order_ts"] = -np.inf
    table["order_source"] = -1
    table["large_from"] = np.inf
    return table


def positions(n: int) -> Table:
    """Room for `n` positions."""
    return np.zeros(n, dtype=POSITION)


def grow(table: Table, n: int) -> Table:
    """The table (of accounts or symbols) with at least `n` rows; those there are as they were."""
    have = len(table)
    if n <= have:
        return table
    make: Any = accounts if table.dtype == ACCOUNT else symbols
    bigger: Table = make(max(n, 2 * have))
    bigger[:have] = table
    return bigger


def pack(table: Table, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bytes of `rows`: [len(rows), width]."""
    return np.ascontiguousarray(table[rows]).view(np.uint8).reshape(len(rows), table.dtype.itemsize)


def unpack(table: Table, rows: NDArray[np.int64], packed: NDArray[np.uint8]) -> None:
    """Put back into `rows` what `pack` made. Raises SurveillanceError where the width is another one."""
    width = table.dtype.itemsize
    if packed.shape != (len(rows), width):
        raise SurveillanceError(f"packed rows of shape {packed.shape}: this version has {width} bytes a row; replay")
    table[rows] = np.ascontiguousarray(packed).view(table.dtype)[:, 0]
