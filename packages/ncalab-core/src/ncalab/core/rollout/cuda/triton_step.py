"""The CUDA engine's kernels for one step forward."""

import triton
import triton.language as tl

from ncalab.core.rollout.cuda.triton_activations import activate
from ncalab.core.rollout.cuda.triton_cells import (
    ALPHA,
    VISIBLE,
    cells_of,
    fires,
    keys_of,
    load_rows,
    opacity_near,
    perceive,
    rows_at,
    store_rows,
)


@triton.jit
def apply_rule(
    own,
    seen,
    into_own,
    into_seen,
    bias,
    out,
    HIDDEN: tl.constexpr,
    BN: tl.constexpr,
    M: tl.constexpr,
    CP: tl.constexpr,
    SP: tl.constexpr,
    ACC: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    ACT: tl.constexpr,
    A: tl.constexpr,
    B: tl.constexpr,
    S: tl.constexpr,
):
    """Compute the update of M cells, shape ``(M, CP)``, some hidden neurons after the other.

    The first layer is split in two, what meets a cell's own state and what meets its filtered
    views: both widths are padded to powers of two, and together they would be padded further.
    """
    update = tl.zeros([M, CP], ACC)
    own, seen = own.to(DOT), seen.to(DOT)
    channel, place = tl.arange(0, CP)[:, None], tl.arange(0, SP)[:, None]
    for first in range(0, HIDDEN, BN):
        neuron = first + tl.arange(0, BN)
        hidden = tl.zeros([M, BN], ACC) + tl.load(bias + neuron)[None, :]
        weight = tl.load(into_own + channel * HIDDEN + neuron[None, :])
        hidden = tl.dot(own, weight, hidden, input_precision=PRECISION, out_dtype=ACC)
        weight = tl.load(into_seen + place * HIDDEN + neuron[None, :])
        hidden = tl.dot(seen, weight, hidden, input_precision=PRECISION, out_dtype=ACC)
        hidden = activate(hidden, ACT, A, B, S).to(DOT)
        weight = tl.load(out + neuron[:, None] * CP + tl.arange(0, CP)[None, :])
        update = tl.dot(hidden, weight, update, input_precision=PRECISION, out_dtype=ACC)
    return update


@triton.jit(do_not_specialize=["step"])
def step_kernel(
    x,
    y,
    opacity,
    alive,
    keys,
    taps,
    columns,
    lines,
    into_own,
    into_seen,
    bias,
    out,
    step,
    batch,
    width,
    height,
    THRESHOLD: tl.constexpr,
    FIRST: tl.constexpr,
    USE_ALIVE: tl.constexpr,
    C: tl.constexpr,
    N: tl.constexpr,
    K: tl.constexpr,
    HIDDEN: tl.constexpr,
    BN: tl.constexpr,
    M: tl.constexpr,
    CP: tl.constexpr,
    SP: tl.constexpr,
    ACC: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    ACT: tl.constexpr,
    A: tl.constexpr,
    B: tl.constexpr,
    S: tl.constexpr,
):
    """Take one step of M cells: halo, perception, rule, fire mask, and who lived before it.

    Who lives after the step depends on neighbours that other programs update: with a mutable
    opacity, ``clear_kernel`` finishes the step from ``opacity`` and ``alive``, written here.
    """
    rows = tl.program_id(0) * M + tl.arange(0, M)
    inside = rows < batch * width * height
    sample, column, line = cells_of(rows, width, height)
    updated = fires(keys_of(keys, step, batch, sample), inside, column * height + line, THRESHOLD)
    lives = inside
    if USE_ALIVE:
        lives = opacity_near(x + ALPHA, rows, inside, column, line, width, height, C, 1) > VISIBLE
        tl.store(alive + rows, lives.to(tl.int8), mask=inside)
        if FIRST <= ALPHA:
            # A cell that is dead itself may, as it fires, let a neighbour live on.
            near = opacity_near(x + ALPHA, rows, inside, column, line, width, height, C, 2)
            updated = updated & (near > VISIBLE)
        else:
            updated = updated & lives

    own = load_rows(x, rows, inside, C, CP).to(ACC)
    state = own
    mutable = (tl.arange(0, CP) >= FIRST)[None, :]
    # Without an alive mask, blocks in which nothing fires are too rare to look for.
    busy = True
    if USE_ALIVE:
        busy = tl.max(updated.to(tl.int32), axis=0) > 0
    if busy:
        # Tensors on the first line, sizes and constants on the next.
        seen = perceive(
            x, taps, columns, lines, sample, column, line, inside, width, height,
            ACC, M, C, N, K, SP,
        )  # fmt: skip
        # Tensors on the first line, sizes and constants on the next.
        update = apply_rule(
            own, seen, into_own, into_seen, bias + step * HIDDEN, out,
            HIDDEN, BN, M, CP, SP, ACC, DOT, PRECISION, ACT, A, B, S,
        )  # fmt: skip
        # A choice, not a product: a NaN must not get past a mask as NaN * 0.
        state = tl.where(updated[:, None] & mutable, own + update, own)
    if USE_ALIVE:
        if FIRST <= ALPHA:
            is_opacity = (tl.arange(0, CP) == ALPHA)[None, :]
            value = tl.sum(tl.where(is_opacity, state, 0.0), axis=1)
            tl.store(opacity + rows, value.to(opacity.dtype.element_ty), mask=inside)
        state = tl.where(lives[:, None] | ~mutable, state, 0.0)
    store_rows(y, rows, inside, state, C, CP)


@triton.jit
def clear_kernel(
    y,
    opacity,
    alive,
    batch,
    width,
    height,
    FIRST: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
    M: tl.constexpr,
):
    """Finish a step with an alive mask: set cells that do not live after it to zero.

    It reads the opacity plane, a C-th of the states, and writes only to the cells that died in this
    step. Doing this within the step would take the rule of a cell's eight neighbours again.
    """
    rows = tl.program_id(0) * M + tl.arange(0, M)
    inside = rows < batch * width * height
    _, column, line = cells_of(rows, width, height)
    before = tl.load(alive + rows, mask=inside, other=0) != 0
    near = opacity_near(opacity, rows, inside, column, line, width, height, 1, 1)
    after = before & (near > VISIBLE)
    tl.store(alive + rows, after.to(tl.int8), mask=inside)
    channel = tl.arange(0, CP)
    died = (before & ~after)[:, None] & ((channel >= FIRST) & (channel < C))[None, :]
    at = rows_at(y, rows, C)[:, None] + channel[None, :]
    tl.store(at, tl.zeros([M, CP], y.dtype.element_ty), mask=died)
