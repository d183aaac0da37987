// Any rule that treats each cell by itself, as a list of operations on rows of numbers, one row for
// each cell; and its adjoint.
//
// A block of cells goes through all operations. The results of each stand in a slot until the end:
// the way back needs them.
#pragma once

#include "activations.h"
#include "perceive.h"
#include "timing.h"

namespace {

enum { PROGRAM_BLOCK = 48, PROGRAM_ROWS = PROGRAM_BLOCK + TILE_ROWS };

// What the way back does with a gradient: it is the first of its columns, or is added to others.
enum Way : int64_t { WRITTEN, ADDED };

// Some columns of a slot, or of the constants, which are the same for all cells.
struct Columns {
    int64_t at;     // numbers of a row in the slots before; of constants, where they begin
    int64_t first;  // the first of the columns
    int64_t row;    // numbers of a row; 0 for constants
    int64_t wide;   // whether one column stands for all
    int64_t way;
};

enum OperationKind : int64_t {
    SUM_OF_TWO,  // x a + y b
    PRODUCT_OF_TWO,
    QUOTIENT,
    LEAK,   // a, and b a where a is negative
    SCALE,  // x a + y
    CLAMP,  // a between x and y; its derivative is 1 at both
    COPY,
    GATHER,   // out[i] = a[table[i]]
    COLLECT,  // out[table[i]] is the sum of those a[i]; without a table, all go to out[0]
    CENTRED,  // (a - mean) / root of (variance + x)
    SCALED,   // a / root of (mean square + x)
    SHARES,   // softmax
    LAYER,    // a times a matrix plus b, and a ReLU if y is not 0
    FUNCTION  // and beyond: elementwise functions in the order of `Activation`, with slope x
};

// Mirrored by ncalab.core.rollout.cpu.compiled.structures: every field takes eight bytes.
struct Operation {
    int64_t kind;
    int64_t width;  // columns of the result
    int64_t inner;  // columns of a where they are others
    int64_t sums;   // where the gradient of the matrix is added up
    Columns a, b, out;
    const REAL* matrix;      // inner x width, in whole vectors
    const REAL* transposed;  // width x inner, in whole vectors
    const int32_t* table;
    double x, y;
};

struct Program {
    int64_t numbers;  // of the rows of all slots
    int64_t count;
    const Operation* operations;
    const REAL* constants;
    Columns result;
    int64_t cleared;  // slots whose gradients begin at zero
    const Columns* clear;
};

INLINE int64_t program_bytes(const Program& p) {
    return (p.numbers * PROGRAM_ROWS + LANES) * sizeof(REAL);
}

INLINE int64_t offset_of(const Columns& c) {
    return (c.row ? c.at * PROGRAM_ROWS : c.at) + c.first;
}

// Reads vectors of columns.
struct Reader {
    const REAL* from;
    int64_t row;
    bool wide;

    Reader(const Program& p, const REAL* slots, const Columns& c)
        : from((c.row ? slots : p.constants) + offset_of(c)), row(c.row), wide(c.wide) {}
    INLINE Vector operator()(int64_t n, int64_t c) const {
        return wide ? all(from[n * row]) : load(from + n * row + c);
    }
};

// Write, or add, the columns of a vector that are left.
INLINE void put(REAL* to, Vector value, int64_t left, bool add) {
    if (left >= LANES) {
        store(to, add ? load(to) + value : value);
        return;
    }
    for (int64_t i = 0; i < left; i++) to[i] = add ? to[i] + value[i] : value[i];
}

INLINE REAL sum_of(Vector value, int64_t left) {
    REAL sum = 0;
    for (int64_t i = 0; i < least(left, LANES); i++) sum += value[i];
    return sum;
}

// The sum of f(c) over columns c, in whole vectors.
template <class F>
INLINE REAL total(int64_t width, F f) {
    Vector sum = {};
    int64_t c = 0;
    for (; c + LANES <= width; c += LANES) sum += f(c);
    const REAL whole = sum_of(sum, LANES);
    return c < width ? whole + sum_of(f(c), width - c) : whole;
}

// Hand the gradient g(n, c) of some columns on: to a slot, or summed over cells to constants.
template <class F>
INLINE void hand_on(const Columns& to, int64_t rows, int64_t width, REAL* slopes, REAL* sums, F g) {
    const bool add = to.way == ADDED;
    if (!to.row) {
        REAL* sum = sums ? sums + offset_of(to) : nullptr;
        for (int64_t c = 0; sum && c < width; c += LANES) {
            Vector own = {};
            for (int64_t n = 0; n < rows; n++) own += g(n, c);
            put(sum + c, own, width - c, true);
        }
        return;
    }
    REAL* own = slopes + offset_of(to);
    for (int64_t n = 0; n < rows; n++) {
        if (to.wide) {
            const REAL sum = total(width, [&](int64_t c) { return g(n, c); });
            own[n * to.row] = add ? own[n * to.row] + sum : sum;
            continue;
        }
        for (int64_t c = 0; c < width; c += LANES)
            put(own + n * to.row + c, g(n, c), width - c, add);
    }
}

template <class F>
INLINE void write_rows(const Operation& o, int64_t rows, REAL* slots, F f) {
    REAL* to = slots + offset_of(o.out);
    for (int64_t n = 0; n < rows; n++)
        for (int64_t c = 0; c < o.width; c += LANES) store(to + n * o.out.row + c, f(n, c));
}

template <int64_t FUNCTION_OF>
void apply(const Operation& o, int64_t rows, const Reader& a, REAL* slots) {
    write_rows(o, rows, slots,
               [&](int64_t n, int64_t c) { return activated(FUNCTION_OF, (REAL)o.x, a(n, c)); });
}

template <int64_t FUNCTION_OF>
void apply_back(const Operation& o, int64_t rows, const Reader& a, const Reader& value,
                const Reader& d, REAL* slopes, REAL* sums) {
    hand_on(o.a, rows, o.width, slopes, sums, [&](int64_t n, int64_t c) {
        const Vector x = derives_from_value(FUNCTION_OF) ? value(n, c) : a(n, c);
        return d(n, c) * derivative(FUNCTION_OF, (REAL)o.x, x);
    });
}

// Call a template for each function, by its number.
#define EACH_FUNCTION(CALL)                                                                      \
    CALL(RELU) CALL(IDENTITY) CALL(LEAKY_RELU) CALL(TANH) CALL(SIGMOID) CALL(ELU) CALL(SILU)     \
        CALL(EXPONENTIAL) CALL(SQUARE) CALL(ROOT) CALL(INVERSE) CALL(INVERSE_ROOT) CALL(ABSOLUTE) \
            CALL(SINE) CALL(COSINE) CALL(SOFTPLUS) CALL(GELU)

// Normalise rows; what they were multiplied by stands behind each.
void normalise(const Operation& o, int64_t rows, const Reader& a, REAL* slots) {
    REAL* to = slots + offset_of(o.out);
    for (int64_t n = 0; n < rows; n++, to += o.out.row) {
        const REAL mean = o.kind == CENTRED
                              ? total(o.width, [&](int64_t c) { return a(n, c); }) / o.width
                              : 0;
        const REAL square = total(o.width, [&](int64_t c) {
            const Vector from_mean = a(n, c) - mean;
            return from_mean * from_mean;
        });
        const Vector scale = 1 / root(all(square / o.width + (REAL)o.x));
        for (int64_t c = 0; c < o.width; c += LANES) store(to + c, (a(n, c) - mean) * scale);
        to[o.out.row - LANES] = scale[0];
    }
}

void normalise_back(const Operation& o, int64_t rows, const Reader& value, const Reader& d,
                    REAL* slopes) {
    REAL* to = slopes + offset_of(o.a);
    for (int64_t n = 0; n < rows; n++, to += o.a.row) {
        const REAL mean = o.kind == CENTRED
                              ? total(o.width, [&](int64_t c) { return d(n, c); }) / o.width
                              : 0;
        const REAL along =
            total(o.width, [&](int64_t c) { return d(n, c) * value(n, c); }) / o.width;
        const REAL scale = value.from[n * value.row + o.out.row - LANES];
        for (int64_t c = 0; c < o.width; c += LANES)
            put(to + c, scale * (d(n, c) - mean - along * value(n, c)), o.width - c,
                o.a.way == ADDED);
    }
}

void share(const Operation& o, int64_t rows, const Reader& a, REAL* slots) {
    REAL* to = slots + offset_of(o.out);
    for (int64_t n = 0; n < rows; n++, to += o.out.row) {
        const REAL* from = a.from + n * a.row;
        REAL highest = from[0];
        for (int64_t c = 1; c < o.width; c++) highest = from[c] > highest ? from[c] : highest;
        for (int64_t c = 0; c < o.width; c += LANES) store(to + c, exponential(a(n, c) - highest));
        const REAL sum = total(o.width, [&](int64_t c) { return load(to + c); });
        for (int64_t c = 0; c < o.width; c += LANES) store(to + c, load(to + c) / sum);
    }
}

void share_back(const Operation& o, int64_t rows, const Reader& value, const Reader& d,
                REAL* slopes) {
    REAL* to = slopes + offset_of(o.a);
    for (int64_t n = 0; n < rows; n++, to += o.a.row) {
        const REAL along = total(o.width, [&](int64_t c) { return d(n, c) * value(n, c); });
        for (int64_t c = 0; c < o.width; c += LANES)
            put(to + c, value(n, c) * (d(n, c) - along), o.width - c, o.a.way == ADDED);
    }
}

void collect(const Operation& o, int64_t rows, const Reader& a, REAL* slots) {
    REAL* to = slots + offset_of(o.out);
    for (int64_t n = 0; n < rows; n++, to += o.out.row) {
        if (!o.table) {
            to[0] = total(o.inner, [&](int64_t c) { return a(n, c); });
            continue;
        }
        const REAL* from = a.from + n * a.row;
        for (int64_t c = 0; c < o.width; c++) to[c] = 0;
        for (int64_t c = 0; c < o.inner; c++) to[o.table[c]] += from[c];
    }
}

void collect_back(const Operation& o, int64_t rows, const Reader& d, REAL* slopes) {
    REAL* to = slopes + offset_of(o.a);
    const bool add = o.a.way == ADDED;
    for (int64_t n = 0; n < rows; n++, to += o.a.row)
        for (int64_t c = 0; c < o.inner; c++) {
            const REAL slope = d.from[n * d.row + (o.table ? o.table[c] : 0)];
            to[c] = add ? to[c] + slope : slope;
        }
}

void layer_back(const Operation& o, int64_t rows, const Reader& a, const Reader& value,
                REAL* slopes, REAL* sums) {
    REAL* d = slopes + offset_of(o.out);
    const int64_t wide = round_up(o.width, LANES), narrow = round_up(o.inner, LANES);
    if (o.y)
        for (int64_t n = 0; n < rows; n++)
            for (int64_t c = 0; c < wide; c += LANES) {
                REAL* own = d + n * o.out.row + c;
                store(own, value(n, c) <= 0 ? Vector{} : load(own));
            }
    if (o.b.at >= 0)
        hand_on(o.b, rows, o.width, slopes, sums,
                [&](int64_t n, int64_t c) { return load(d + n * o.out.row + c); });
    if (sums)
        multiply(o.inner, wide / LANES, rows, a.from, 1, a.row, d, o.out.row, sums + o.sums, wide,
                 FROM_RESULT);
    multiply(rows, narrow / LANES, o.width, d, o.out.row, 1, o.transposed, narrow,
             slopes + offset_of(o.a), o.a.row, o.a.way == ADDED ? FROM_RESULT : FROM_ZERO);
}

void run_operation(const Program& p, const Operation& o, int64_t rows, REAL* slots) {
    const Reader a(p, slots, o.a), b(p, slots, o.b);
    const REAL x = (REAL)o.x, y = (REAL)o.y;
    const auto write = [&](auto f) { write_rows(o, rows, slots, f); };
    switch (o.kind) {
        case SUM_OF_TWO:
            return write([&](int64_t n, int64_t c) { return x * a(n, c) + y * b(n, c); });
        case PRODUCT_OF_TWO:
            return write([&](int64_t n, int64_t c) { return a(n, c) * b(n, c); });
        case QUOTIENT:
            return write([&](int64_t n, int64_t c) { return a(n, c) / b(n, c); });
        case LEAK:
            return write([&](int64_t n, int64_t c) {
                const Vector own = a(n, c);
                return own < 0 ? b(n, c) * own : own;
            });
        case SCALE:
            return write([&](int64_t n, int64_t c) { return x * a(n, c) + y; });
        case CLAMP:
            return write([&](int64_t n, int64_t c) {
                const Vector own = a(n, c);
                return own < x ? all(x) : own > y ? all(y) : own;
            });
        case COPY: {
            REAL* to = slots + offset_of(o.out);
            for (int64_t n = 0; n < rows; n++)
                for (int64_t c = 0; c < o.width; c += LANES)
                    put(to + n * o.out.row + c, a(n, c), o.width - c, false);
            return;
        }
        case GATHER: {
            REAL* to = slots + offset_of(o.out);
            for (int64_t n = 0; n < rows; n++)
                for (int64_t c = 0; c < o.width; c++)
                    to[n * o.out.row + c] = a.from[n * a.row + o.table[c]];
            return;
        }
        case COLLECT:
            return collect(o, rows, a, slots);
        case CENTRED:
        case SCALED:
            return normalise(o, rows, a, slots);
        case SHARES:
            return share(o, rows, a, slots);
        case LAYER:
            return multiply(rows, round_up(o.width, LANES) / LANES, o.inner, a.from, a.row, 1,
                            o.matrix, round_up(o.width, LANES), slots + offset_of(o.out),
                            o.out.row, o.b.at < 0 ? FROM_ZERO : FROM_BIAS, b.from, o.y != 0);
    }
    switch (o.kind - FUNCTION) {
#define CASE(NAME)   \
    case NAME: \
        return apply<NAME>(o, rows, a, slots);
        EACH_FUNCTION(CASE)
#undef CASE
    }
}

void take_back(const Program& p, const Operation& o, int64_t rows, const REAL* slots, REAL* slopes,
               REAL* sums) {
    const Reader a(p, slots, o.a), b(p, slots, o.b), value(p, slots, o.out), d(p, slopes, o.out);
    const REAL x = (REAL)o.x, y = (REAL)o.y;
    const auto hand = [&](const Columns& to, auto g) {
        hand_on(to, rows, o.width, slopes, sums, g);
    };
    switch (o.kind) {
        case SUM_OF_TWO:
            hand(o.a, [&](int64_t n, int64_t c) { return x * d(n, c); });
            return hand(o.b, [&](int64_t n, int64_t c) { return y * d(n, c); });
        case PRODUCT_OF_TWO:
            hand(o.a, [&](int64_t n, int64_t c) { return d(n, c) * b(n, c); });
            return hand(o.b, [&](int64_t n, int64_t c) { return d(n, c) * a(n, c); });
        case QUOTIENT:
            hand(o.a, [&](int64_t n, int64_t c) { return d(n, c) / b(n, c); });
            return hand(o.b,
                        [&](int64_t n, int64_t c) { return -d(n, c) * value(n, c) / b(n, c); });
        case LEAK:
            hand(o.a, [&](int64_t n, int64_t c) {
                return a(n, c) > 0 ? d(n, c) : d(n, c) * b(n, c);
            });
            return hand(o.b, [&](int64_t n, int64_t c) {
                return a(n, c) > 0 ? Vector{} : d(n, c) * a(n, c);
            });
        case SCALE:
            return hand(o.a, [&](int64_t n, int64_t c) { return x * d(n, c); });
        case CLAMP:
            return hand(o.a, [&](int64_t n, int64_t c) {
                const Vector own = a(n, c);
                return own < x ? Vector{} : own > y ? Vector{} : d(n, c);
            });
        case COPY:
            return hand(o.a, [&](int64_t n, int64_t c) { return d(n, c); });
        case GATHER: {
            REAL* to = slopes + offset_of(o.a);
            for (int64_t n = 0; n < rows; n++)
                for (int64_t c = 0; c < o.width; c++)
                    to[n * o.a.row + o.table[c]] += d.from[n * d.row + c];
            return;
        }
        case COLLECT:
            return collect_back(o, rows, d, slopes);
        case CENTRED:
        case SCALED:
            return normalise_back(o, rows, value, d, slopes);
        case SHARES:
            return share_back(o, rows, value, d, slopes);
        case LAYER:
            return layer_back(o, rows, a, value, slopes, sums);
    }
    switch (o.kind - FUNCTION) {
#define CASE(NAME)   \
    case NAME: \
        return apply_back<NAME>(o, rows, a, value, d, slopes, sums);
        EACH_FUNCTION(CASE)
#undef CASE
    }
}

INLINE Kind kind_of_work(const Operation& o) { return o.kind == LAYER ? PRODUCTS : ACTIVATION; }

// Compute the updates of a block of cells, each with the context of its sample. Their perceptions
// stay in the first slot.
void run_program(const Rollout& r, const REAL* grid, const int32_t* cells, int64_t rows,
                 const REAL* context, REAL* slots) {
    const Program& p = *r.program;
    {
        Timer timer(r, PERCEPTION);
        perceive(r, grid, cells, rows, slots);
        for (int64_t n = 0; n < rows; n++)
            copy_exactly(slots + n * seen_row(r) + seen_of(r), context + bias_offset(r, cells[n]),
                         r.context);
    }
    for (int64_t i = 0; i < p.count; i++) {
        Timer timer(r, kind_of_work(p.operations[i]));
        run_operation(p, p.operations[i], rows, slots);
    }
}

// Take the gradient of the updates, rows of `row` numbers, back to that of the perceptions, which
// is left in the first slot; add up that of context and parameters.
void program_back(const Rollout& r, const int32_t* cells, int64_t rows, const REAL* d_updates,
                  int64_t row, const REAL* slots, REAL* slopes, REAL* d_context, REAL* sums) {
    const Program& p = *r.program;
    for (int64_t i = 0; i < p.cleared; i++)
        memset(slopes + offset_of(p.clear[i]), 0, rows * p.clear[i].row * sizeof(REAL));
    REAL* result = slopes + offset_of(p.result);
    for (int64_t n = 0; n < rows; n++)
        copy_exactly(result + n * p.result.row, d_updates + n * row, mutable_of(r));
    for (int64_t i = p.count - 1; i >= 0; i--) {
        Timer timer(r, kind_of_work(p.operations[i]));
        take_back(p, p.operations[i], rows, slots, slopes, sums);
    }
    for (int64_t n = 0; n < rows; n++)
        add_exactly(d_context + bias_offset(r, cells[n]), slopes + n * seen_row(r) + seen_of(r),
                    r.context);
}

}  // namespace
