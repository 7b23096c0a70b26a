"""Machine words for the kernels: unaligned loads and the few bit instructions numba does not name."""
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["count_leading_zeros", "count_trailing_zeros", "load_word", "multiply_high", "store_word", "word_at"]

_U64 = ir.IntType(64)


@intrinsic
def load_word(typing_context: Any, array: Any, index: Any) -> Any:
    """Eight bytes of a uint8 array from `index`, little-endian, as uint64. The caller sees to the bounds."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(struct.data, [arguments[1]])
        return builder.load(builder.bitcast(address, _U64.as_pointer()), align=1)

    return types.uint64(array, types.int64), codegen


@intrinsic
def store_word(typing_context: Any, array: Any, index: Any, word: Any) -> Any:
    """Put a uint64 as eight bytes, little-endian, into a uint8 array at `index`. The caller sees to the bounds."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(struct.data, [arguments[1]])
        builder.store(arguments[2], builder.bitcast(address, _U64.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic
def count_trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Zero bits below the lowest set bit; 64 for zero."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic
def count_leading_zeros(typing_context: Any, word: Any) -> Any:
    """Zero bits above the highest set bit; 64 for zero."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic
def multiply_high(typing_context: Any, a: Any, b: Any) -> Any:
    """The upper 64 bits of the 128-bit product of two uint64."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _U64)

    return types.uint64(types.uint64, types.uint64), codegen


@njit(inline="always")
def word_at(data, i, size):  # type: ignore[no-untyped-def]
    """`load_word` that stays inside the `size` bytes of `data`: what is beyond reads as zero."""
    if i + 8 <= size:
        return load_word(data, i)
    word = np.uint64(0)
    for k in range(size - i):
        word |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return word
