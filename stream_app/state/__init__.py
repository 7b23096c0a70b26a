"""Columnar state: tables of numpy rows by key, with windows, rings and a changelog, on Faust's collections.

`Table` is declared once; an agent takes `table.shard(partition)`, locates a batch of keys and changes their rows with
the kernels of its features. docs/state.md shows it.
"""

from stream_app.state.columns import Column, Columns, Feature, Layout
from stream_app.state.index import KeyIndex
from stream_app.state.rings import Ring
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from stream_app.state.windows import Added, DecayedSum, SlidingCounts, TumblingCounts

__all__ = [
    "Added",
    "Column",
    "Columns",
    "DecayedSum",
    "Feature",
    "KeyIndex",
    "Layout",
    "Ring",
    "Shard",
    "SlidingCounts",
    "Table",
    "TumblingCounts",
]
