"""Functions shared by the CUDA engine's kernels: place, perception and fire mask of a row's cell.

A grid is kept channels-last, so that the channels of a cell are one row of memory: rows are
numbered ``(sample * W + column) * H + line``. A program works on some rows, whatever their sample:
a batch of tiny grids fills it as well as one large grid.
"""

import triton
import triton.language as tl

from ncalab.core.alive import ALIVE_THRESHOLD, ALPHA_CHANNEL

ALPHA = tl.constexpr(ALPHA_CHANNEL)
VISIBLE = tl.constexpr(ALIVE_THRESHOLD)


@triton.jit
def cells_of(rows, width, height):
    """Return sample, column and line of rows, int32."""
    cells = rows % (width * height)
    return rows // (width * height), cells // height, cells % height


@triton.jit
def rows_at(base, rows, STRIDE: tl.constexpr):
    """Return the addresses of rows; 64 bits, as a grid may hold more than 2**31 values."""
    return base + rows.to(tl.int64) * STRIDE


@triton.jit
def keys_of(keys, step, batch, sample):
    """Return where the keys of samples are at a step, in ``(T, B, 2)``."""
    return keys + (step.to(tl.int64) * batch + sample) * 2


@triton.jit
def fires(keys, inside, cells, threshold):
    """Decide which cells fire: ``ncalab.core.fire.hash_cells``, in unsigned integers.

    ``keys`` is where the two words of every cell's sample are: :func:`keys_of`.
    """
    first = tl.load(keys, mask=inside, other=0).to(tl.uint32, bitcast=True)
    second = tl.load(keys + 1, mask=inside, other=0).to(tl.uint32, bitcast=True)
    x = cells.to(tl.uint32, bitcast=True) + first
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= second
    x ^= x >> 15
    x *= 0x846CA68B
    x ^= x >> 16
    return inside & ((x >> 8).to(tl.int32, bitcast=True) < threshold)


@triton.jit
def opacity_near(
    opacity, rows, inside, column, line, width, height, STRIDE: tl.constexpr, R: tl.constexpr
):
    """Return the largest opacity up to R cells away; beyond the border is none.

    Within one cell, a NaN is passed on, as torch's max-pooling does: it makes its neighbours dead.
    Further away it is ignored: torch has no such pooling, and it must not prevent an update.
    """
    nothing = tl.full(rows.shape, float("-inf"), opacity.dtype.element_ty)
    largest = nothing
    for dw in tl.static_range(-R, R + 1):
        for dh in tl.static_range(-R, R + 1):
            there = inside & (column + dw >= 0) & (column + dw < width)
            there = there & (line + dh >= 0) & (line + dh < height)
            at = rows_at(opacity, rows + dw * height + dh, STRIDE)
            value = tl.load(at, mask=there, other=float("-inf"))
            if R > 1:
                value = tl.where(value == value, value, float("-inf"))
            largest = tl.maximum(largest, value, propagate_nan=tl.PropagateNan.ALL)
    # The maximum may have widened bfloat16; the reference compares in the state's own type.
    return largest.to(opacity.dtype.element_ty)


@triton.jit
def load_rows(base, rows, inside, C: tl.constexpr, CP: tl.constexpr):
    """Load the channels of some cells, shape ``(M, CP)``, zero beyond channel C."""
    channel = tl.arange(0, CP)
    mask = inside[:, None] & (channel < C)[None, :]
    return tl.load(rows_at(base, rows, C)[:, None] + channel[None, :], mask=mask, other=0.0)


@triton.jit
def store_rows(base, rows, inside, values, C: tl.constexpr, CP: tl.constexpr):
    """Store the channels of some cells, shape ``(M, CP)``, without what is beyond channel C."""
    channel = tl.arange(0, CP)
    mask = inside[:, None] & (channel < C)[None, :]
    at = rows_at(base, rows, C)[:, None] + channel[None, :]
    tl.store(at, values.to(base.dtype.element_ty), mask=mask)


@triton.jit
def neighbours(columns, lines, sample, column, line, inside, width, height, dw, dh):
    """Return the rows that stand ``(dw - r, dh - r)`` away, and whether there is such a cell.

    ``columns`` and ``lines`` are the padded indices of both axes, -1 where the padding is zero.
    """
    w = tl.load(columns + column + dw, mask=inside, other=-1)
    h = tl.load(lines + line + dh, mask=inside, other=-1)
    return (sample * width + w) * height + h, (w >= 0) & (h >= 0)


@triton.jit
def perceive(
    x,
    taps,
    columns,
    lines,
    sample,
    column,
    line,
    inside,
    width,
    height,
    ACC: tl.constexpr,
    M: tl.constexpr,
    C: tl.constexpr,
    N: tl.constexpr,
    K: tl.constexpr,
    SP: tl.constexpr,
):
    """Filter the neighbourhood of some cells, shape ``(M, SP)``: filter by filter, C columns each.

    ``taps`` holds the filters by their places, ``(K * K, SP)``.
    """
    place = tl.arange(0, SP)
    seen = tl.zeros([M, SP], ACC)
    # Only the inner loop is unrolled: a filter may be large.
    for dw in range(K):
        for dh in tl.static_range(K):
            rows, there = neighbours(
                columns, lines, sample, column, line, inside, width, height, dw, dh
            )
            mask = there[:, None] & (place < N * C)[None, :]
            at = rows_at(x, rows, C)[:, None] + (place % C)[None, :]
            value = tl.load(at, mask=mask, other=0.0).to(ACC)
            seen += value * tl.load(taps + (dw * K + dh) * SP + place)[None, :]
    return seen
