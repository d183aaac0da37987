// Nonlinearities of the hidden neurons, and their derivatives.
#pragma once

#include "rollout.h"

namespace {

// The order of ncalab.core.rollout.cpu.compiled.spec.ACTIVATIONS.
enum Activation { RELU, IDENTITY, LEAKY_RELU, TANH, SIGMOID, ELU, SILU };

// Whether the derivative is computed from the value; else it is from what the value was made of.
INLINE bool derives_from_value(int64_t activation) { return activation != SILU; }

#if defined(__clang__) || __GNUC__ >= 9
template <class To, class From>
INLINE To converted(From from) {
    return __builtin_convertvector(from, To);
}
#endif

typedef decltype(Vector{} < Vector{}) Integers;

// e to the power of x, to the precision of the numbers: x = n ln 2 + r with |r| <= ln 2 / 2, and a
// Taylor series in r.
INLINE Vector exponential(Vector x) {
    const bool single = sizeof(REAL) == 4;
    // Beyond, the result leaves the range of the numbers (or is as good as 0).
    const Vector highest = all(single ? (REAL)88 : (REAL)709);
    const Vector lowest = all(single ? (REAL)-87.3 : (REAL)-708.3);
    const Vector inside = x > highest ? highest : x < lowest ? lowest : x;
    const Vector scaled = inside * (REAL)1.4426950408889634;
    const Integers n =
        converted<Integers>(scaled + (scaled < 0 ? all((REAL)-0.5) : all((REAL)0.5)));
    const Vector whole = converted<Vector>(n);
    // ln 2 in two parts, of which the first times n is exact.
    const Vector r = (inside - whole * (REAL)(single ? 0.693359375 : 0.693145751953125)) -
                     whole * (REAL)(single ? -2.12194440e-4 : 1.42860682030941723212e-6);
    Vector sum = all(1);
    // 1 + r (1 + r / 2 (1 + r / 3 (...)))
    UNROLL for (int term = single ? 7 : 13; term >= 1; term--) sum = 1 + r * ((REAL)1 / term) * sum;
    const int mantissa = single ? 23 : 52, bias = single ? 127 : 1023;
    const Integers bits = (n + bias) << mantissa;
    Vector power;
    memcpy(&power, &bits, sizeof power);
    const Vector result = sum * power;
    return x == x ? result : x;
}

INLINE Vector sigmoid(Vector x) { return 1 / (1 + exponential(-x)); }

INLINE Vector activated(const Rollout& r, Vector x) {
    switch (r.activation) {
        case LEAKY_RELU:
            return x < 0 ? all(r.slope) * x : x;
        case TANH:
            return 1 - 2 / (1 + exponential(2 * x));
        case SIGMOID:
            return sigmoid(x);
        case ELU:
            return x > 0 ? x : all(r.slope) * (exponential(x) - 1);
        case SILU:
            return x * sigmoid(x);
        default:
            return x;
    }
}

// Return the derivative, from the value or from what it was made of (see above).
INLINE Vector derivative(const Rollout& r, Vector x) {
    switch (r.activation) {
        // The derivative at a NaN is that at a positive number, as in PyTorch.
        case RELU:
            return x <= 0 ? Vector{} : all(1);
        case LEAKY_RELU:
            return x <= 0 ? all(r.slope) : all(1);
        case TANH:
            return 1 - x * x;
        case SIGMOID:
            return x * (1 - x);
        case ELU:
            return x <= 0 ? x + r.slope : all(1);
        case SILU: {
            const Vector s = sigmoid(x);
            return s * (1 + x * (1 - s));
        }
        default:
            return all(1);
    }
}

// Activate hidden neurons; a ReLU is part of the product before.
void activate(const Rollout& r, const REAL* hidden, int64_t count, REAL* active) {
    if (r.activation == RELU || r.activation == IDENTITY) return;
    for (int64_t n = 0; n < count; n += LANES) store(active + n, activated(r, load(hidden + n)));
}

// Take the gradient of some rows of active neurons back to before the activation, in place, and
// add it up for the bias.
void activate_back(const Rollout& r, const REAL* values, REAL* gradient, int64_t rows,
                   REAL* d_bias) {
    for (int64_t h = 0; h < r.hidden; h += LANES) {
        Vector sum = load(d_bias + h);
        for (int64_t n = 0; n < rows; n++) {
            const int64_t at = n * r.hidden + h;
            const Vector slope = load(gradient + at) * derivative(r, load(values + at));
            store(gradient + at, slope);
            sum += slope;
        }
        store(d_bias + h, sum);
    }
}

}  // namespace
