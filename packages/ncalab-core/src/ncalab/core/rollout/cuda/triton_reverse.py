"""The CUDA engine's kernels for one step back.

A step back is two kernels, three with learned filters: ``reverse_kernel`` takes the gradient of
every cell back through the rule to what the cell perceived, ``gather_kernel`` sums for every cell
what the cells around it perceived of it, ``filter_kernel`` does so for every place of a filter.
Nothing is added atomically: gradients are the same to the bit whenever they are computed.
"""

import triton
import triton.language as tl

from ncalab.core.rollout.cuda.triton_activations import activate, slope
from ncalab.core.rollout.cuda.triton_cells import (
    cells_of,
    fires,
    keys_of,
    load_rows,
    neighbours,
    perceive,
    rows_at,
    store_rows,
)


@triton.jit
def own_sums(base, size: tl.constexpr, HIDDEN: tl.constexpr, neuron):
    """Return the addresses of this program's sums over cells, shape ``(size, BN)``."""
    place = tl.arange(0, size)
    offset = tl.program_id(0).to(tl.int64) * size * HIDDEN
    return base + offset + place[:, None] * HIDDEN + neuron[None, :]


@triton.jit(do_not_specialize=["step"])
def reverse_kernel(
    x,
    gradient,
    alive,
    d_own,
    d_seen,
    keys,
    times,
    taps,
    columns,
    lines,
    into_own,
    into_seen,
    bias,
    out,
    d_into_own,
    d_into_seen,
    d_bias,
    d_time,
    d_out,
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
    INTO: tl.constexpr,
    OUT: tl.constexpr,
):
    """Take the gradient of the states after a step back to what the cells perceived before it.

    Each program goes through many blocks of M cells with its sums for the weights in registers,
    adds them to those it left in memory at the step before, and so on: what the host adds up in
    the end is one sum for each program, not for each block or step. The hidden neurons are worked
    on BN at a time, in the outer loop; all at once where the sums fit into registers.

    ``INTO`` and ``OUT`` say whether the gradients of the first and of the last layer are wanted.
    ``gradient`` and what is written are in ACC's type, whatever type the states have.
    """
    total = batch * width * height
    mutable = (tl.arange(0, CP) >= FIRST)[None, :]
    channel, place = tl.arange(0, CP)[:, None], tl.arange(0, SP)[:, None]
    time = tl.load(times + step).to(ACC)
    for first in range(0, HIDDEN, BN):
        neuron = first + tl.arange(0, BN)
        w_own = tl.load(into_own + channel * HIDDEN + neuron[None, :])
        w_seen = tl.load(into_seen + place * HIDDEN + neuron[None, :])
        w_out = tl.load(out + neuron[:, None] * CP + tl.arange(0, CP)[None, :])
        b = tl.load(bias + step * HIDDEN + neuron)
        sum_own = tl.zeros([CP, BN], ACC)
        sum_seen = tl.zeros([SP, BN], ACC)
        sum_bias = tl.zeros([BN], ACC)
        sum_out = tl.zeros([CP, BN], ACC)  # transposed, as the other sums are
        # The last round's gradients of the same cells, read below, must have been written.
        tl.debug_barrier()
        for block in range(tl.program_id(0), tl.cdiv(total, M), tl.num_programs(0)):
            rows = block * M + tl.arange(0, M)
            inside = rows < total
            sample, column, line = cells_of(rows, width, height)
            updated = fires(
                keys_of(keys, step, batch, sample), inside, column * height + line, THRESHOLD
            )
            g = load_rows(gradient, rows, inside, C, CP)
            busy = True
            if USE_ALIVE:
                lives = tl.load(alive + rows, mask=inside, other=0) != 0
                updated = updated & lives
                # What does not live has no gradient.
                g = tl.where(lives[:, None] | ~mutable, g, 0.0)
                busy = tl.max(updated.to(tl.int32), axis=0) > 0
            to_own = tl.zeros([M, CP], ACC)
            to_seen = tl.zeros([M, SP], ACC)
            if busy:
                own = load_rows(x, rows, inside, C, CP).to(DOT)
                # Tensors on the first line, sizes and constants on the next.
                seen = perceive(
                    x, taps, columns, lines, sample, column, line, inside, width, height,
                    ACC, M, C, N, K, SP,
                ).to(DOT)  # fmt: skip
                hidden = tl.zeros([M, BN], ACC) + b[None, :]
                hidden = tl.dot(own, w_own, hidden, input_precision=PRECISION, out_dtype=ACC)
                hidden = tl.dot(seen, w_seen, hidden, input_precision=PRECISION, out_dtype=ACC)

                d_update = tl.where(updated[:, None] & mutable, g, 0.0).to(DOT)
                back = tl.dot(d_update, tl.trans(w_out), input_precision=PRECISION, out_dtype=ACC)
                if OUT:
                    active = activate(hidden, ACT, A, B, S).to(DOT)
                    # Tensors on the first line, sizes and constants on the next.
                    sum_out = tl.dot(
                        tl.trans(d_update), active, sum_out,
                        input_precision=PRECISION, out_dtype=ACC,
                    )  # fmt: skip
                back = back * slope(hidden, ACT, A, B, S)
                if INTO:
                    # Rows outside have the hidden neurons of a zero state, but no gradient.
                    sum_bias += tl.sum(back, axis=0)
                back = back.to(DOT)
                if INTO:
                    sum_own = tl.dot(
                        tl.trans(own), back, sum_own, input_precision=PRECISION, out_dtype=ACC
                    )
                    sum_seen = tl.dot(
                        tl.trans(seen), back, sum_seen, input_precision=PRECISION, out_dtype=ACC
                    )
                to_own = tl.dot(back, tl.trans(w_own), input_precision=PRECISION, out_dtype=ACC)
                to_seen = tl.dot(back, tl.trans(w_seen), input_precision=PRECISION, out_dtype=ACC)
            if first > 0:
                to_own += load_rows(d_own, rows, inside, C, CP)
                to_seen += load_rows(d_seen, rows, inside, N * C, SP)
            else:
                to_own += g
            store_rows(d_own, rows, inside, to_own, C, CP)
            store_rows(d_seen, rows, inside, to_seen, N * C, SP)
        if INTO:
            at = own_sums(d_into_own, CP, HIDDEN, neuron)
            tl.store(at, tl.load(at) + sum_own)
            at = own_sums(d_into_seen, SP, HIDDEN, neuron)
            tl.store(at, tl.load(at) + sum_seen)
            offset = tl.program_id(0) * HIDDEN + neuron
            tl.store(d_bias + offset, tl.load(d_bias + offset) + sum_bias)
            tl.store(d_time + offset, tl.load(d_time + offset) + sum_bias * time)
        if OUT:
            at = own_sums(d_out, CP, HIDDEN, neuron)
            tl.store(at, tl.load(at) + sum_out)


@triton.jit
def gather_kernel(
    d_own,
    d_seen,
    gradient,
    taps,
    columns,
    lines,
    batch,
    width,
    height,
    MW: tl.constexpr,
    MH: tl.constexpr,
    C: tl.constexpr,
    N: tl.constexpr,
    K: tl.constexpr,
    M: tl.constexpr,
    CP: tl.constexpr,
    SP: tl.constexpr,
):
    """Sum, for M cells, the gradients of all that was perceived of them.

    A cell stands at its own place of the padded grid and, near the border, at others, up to MW
    columns and MH lines: ``columns``, ``(W, MW)``, and ``lines``, ``(H, MH)``, name them, -1 for
    none. What is perceived of the cell is what the filters see at those places.
    """
    rows = tl.program_id(0) * M + tl.arange(0, M)
    inside = rows < batch * width * height
    sample, column, line = cells_of(rows, width, height)
    channel = tl.arange(0, CP)
    total = load_rows(d_own, rows, inside, C, CP)
    for i in range(MW):
        w = tl.load(columns + column * MW + i, mask=inside, other=-1)
        for j in range(MH):
            h = tl.load(lines + line * MH + j, mask=inside, other=-1)
            stands = (w >= 0) & (h >= 0)
            # Most blocks have no cell that stands anywhere else.
            if tl.max(stands.to(tl.int32), axis=0) > 0:
                for dw in range(K):
                    for dh in tl.static_range(K):
                        from_w, from_h = w - dw, h - dh
                        there = stands & (from_w >= 0) & (from_w < width)
                        there = there & (from_h >= 0) & (from_h < height)
                        seeing = (sample * width + from_w) * height + from_h
                        mask = there[:, None] & (channel < C)[None, :]
                        at = rows_at(d_seen, seeing, N * C)[:, None] + channel[None, :]
                        tap = taps + (dw * K + dh) * SP + channel
                        for f in tl.static_range(N):
                            weight = tl.load(tap + f * C, mask=channel < C, other=0.0)
                            total += tl.load(at + f * C, mask=mask, other=0.0) * weight[None, :]
    store_rows(gradient, rows, inside, total, C, CP)


@triton.jit
def filter_kernel(
    x,
    d_seen,
    d_taps,
    columns,
    lines,
    batch,
    width,
    height,
    C: tl.constexpr,
    N: tl.constexpr,
    K: tl.constexpr,
    KP: tl.constexpr,
    M: tl.constexpr,
    SP: tl.constexpr,
    ACC: tl.constexpr,
):
    """Add the gradient of the filters, ``(KP, SP)`` for each program, to what it left there."""
    place, tap = tl.arange(0, SP), tl.arange(0, KP)
    at = d_taps + (tl.program_id(0).to(tl.int64) * KP + tap[:, None]) * SP + place[None, :]
    sums = tl.load(at)
    total = batch * width * height
    for block in range(tl.program_id(0), tl.cdiv(total, M), tl.num_programs(0)):
        rows = block * M + tl.arange(0, M)
        inside = rows < total
        sample, column, line = cells_of(rows, width, height)
        back = load_rows(d_seen, rows, inside, N * C, SP)
        for d in range(K * K):
            there, exists = neighbours(
                columns, lines, sample, column, line, inside, width, height, d // K, d % K
            )
            mask = exists[:, None] & (place < N * C)[None, :]
            value = tl.load(
                rows_at(x, there, C)[:, None] + (place % C)[None, :], mask=mask, other=0.0
            )
            one = tl.sum(value.to(ACC) * back, axis=0)
            sums += tl.where((tap == d)[:, None], one[None, :], 0.0)
    tl.store(at, sums)
