// Nonlinearities of the hidden neurons, and their derivatives.
#pragma once

#include "rollout.h"

namespace {

// The order of ncalab.core.rollout.cpu.compiled.program.FUNCTIONS, which begins with that of
// ncalab.core.rollout.cpu.compiled.spec.ACTIVATIONS: those a perceptron may have come first.
enum Activation {
    RELU,
    IDENTITY,
    LEAKY_RELU,
    TANH,
    SIGMOID,
    ELU,
    SILU,
    EXPONENTIAL,
    SQUARE,
    ROOT,
    INVERSE,
    INVERSE_ROOT,
    ABSOLUTE,
    SINE,
    COSINE,
    SOFTPLUS,
    GELU
};

// Whether the derivative is computed from the value; else it is from what the value was made of.
INLINE constexpr bool derives_from_value(int64_t activation) {
    return activation != SILU && activation != SQUARE && activation < ABSOLUTE;
}

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

// The logarithm of numbers between 1 and 2: with s = (x - 1) / (x + 1), twice the series of artanh.
INLINE Vector logarithm(Vector x) {
    const Vector s = (x - 1) / (x + 1), square = s * s;
    Vector sum = {};
    // s is at most 1/3: the first term that is left out is below the precision of the numbers.
    UNROLL for (int term = sizeof(REAL) == 4 ? 15 : 33; term >= 1; term -= 2) sum =
        sum * square + (REAL)1 / term;
    return 2 * s * sum;
}

// The sine of x plus a number of quarter turns. Double also for float: angles of many turns.
inline double sine(double x, int64_t quarters) {
    const double scaled = x * 0.63661977236758134308;
    const int64_t whole = (int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
    // A quarter turn in three parts, of which the first two times the number of turns are exact.
    double r = x - whole * 1.57079625129699707031;
    r = (r - whole * 7.54978941586159635335e-8) - whole * 5.39030285815811905290e-15;
    const int64_t quadrant = (whole + quarters) & 3;
    const double square = r * r;
    double sum = 0;
    // Taylor series: 1 - r^2 / 2! + ..., or r - r^3 / 3! + ...
    const int first = quadrant & 1 ? 0 : 1;
    for (int term = 16 + first; term > first; term -= 2)
        sum = (1 + sum) * -square / (term * (term - 1));
    const double value = (1 + sum) * (first ? r : 1);
    return quadrant & 2 ? -value : value;
}

INLINE Vector sines(Vector x, int64_t quarters) {
    Vector result;
    for (int i = 0; i < LANES; i++) result[i] = (REAL)sine((double)x[i], quarters);
    return result;
}

// Half of the complementary error function of x / root of 2: the share of a normal distribution
// above x, for x >= 0. Source: Press et al., Numerical Recipes, 3rd edition, 2007, section 6.2.2.
INLINE Vector tail_of_normal(Vector x) {
    constexpr double terms[] = {
        -1.3026537197817094,   6.4196979235649026e-1, 1.9476473204185836e-2, -9.561514786808631e-3,
        -9.46595344482036e-4,  3.66839497852761e-4,   4.2523324806907e-5,    -2.0278578112534e-5,
        -1.624290004647e-6,    1.303655835580e-6,     1.5626441722e-8,       -8.5238095915e-8,
        6.529054439e-9,        5.059343495e-9,        -9.91364156e-10,       -2.27365122e-10,
        9.6467911e-11,         2.394038e-12,          -6.886027e-12,         8.94487e-13,
        3.13092e-13,           -1.12708e-13,          3.81e-16,              7.106e-15,
        -1.523e-15,            -9.4e-17,              1.21e-16,              -2.8e-17};
    const Vector z = x * (REAL)0.70710678118654752440, t = 2 / (2 + z), twice = 4 * t - 2;
    Vector sum = {}, before = {};
    UNROLL for (int term = sizeof(REAL) == 4 ? 11 : 27; term >= 1; term--) {
        const Vector next = twice * sum - before + (REAL)terms[term];
        before = sum;
        sum = next;
    }
    const Vector power = (REAL)0.5 * ((REAL)terms[0] + twice * sum) - before;
    return (REAL)0.5 * t * exponential(power - z * z);
}

// The share of a normal distribution below x.
INLINE Vector normal(Vector x) {
    const Vector tail = tail_of_normal(x < 0 ? -x : x);
    return x < 0 ? tail : 1 - tail;
}

INLINE Vector root(Vector x) {
    Vector result;
    UNROLL for (int i = 0; i < LANES; i++) result[i] =
        sizeof(REAL) == 4 ? (REAL)__builtin_sqrtf((float)x[i]) : (REAL)__builtin_sqrt(x[i]);
    return result;
}

INLINE Vector activated(int64_t activation, REAL slope, Vector x) {
    switch (activation) {
        case RELU:
            // Not a maximum with zero: a NaN must stay one.
            return x < 0 ? Vector{} : x;
        case LEAKY_RELU:
            return x < 0 ? all(slope) * x : x;
        case TANH:
            return 1 - 2 / (1 + exponential(2 * x));
        case SIGMOID:
            return sigmoid(x);
        case ELU:
            return x > 0 ? x : all(slope) * (exponential(x) - 1);
        case SILU:
            return x * sigmoid(x);
        case EXPONENTIAL:
            return exponential(x);
        case SQUARE:
            return x * x;
        case ROOT:
            return root(x);
        case INVERSE:
            return 1 / x;
        case INVERSE_ROOT:
            return 1 / root(x);
        case ABSOLUTE:
            return x < 0 ? -x : x;
        case SINE:
            return sines(x, 0);
        case COSINE:
            return sines(x, 1);
        case SOFTPLUS:
            // Above 20, PyTorch leaves the exponential out.
            return x > 20 ? x
                          : (x < 0 ? Vector{} : x) +
                                logarithm(1 + exponential(x < 0 ? x : -x));
        case GELU:
            return x * normal(x);
        default:
            return x;
    }
}

// Return the derivative, from the value or from what it was made of (see above).
INLINE Vector derivative(int64_t activation, REAL slope, Vector x) {
    switch (activation) {
        // The derivative at a NaN is that at a positive number, as in PyTorch.
        case RELU:
            return x <= 0 ? Vector{} : all(1);
        case LEAKY_RELU:
            return x <= 0 ? all(slope) : all(1);
        case TANH:
            return 1 - x * x;
        case SIGMOID:
            return x * (1 - x);
        case ELU:
            return x <= 0 ? x + slope : all(1);
        case SILU: {
            const Vector s = sigmoid(x);
            return s * (1 + x * (1 - s));
        }
        case EXPONENTIAL:
            return x;
        case SQUARE:
            return 2 * x;
        case ROOT:
            return (REAL)0.5 / x;
        case INVERSE:
            return -x * x;
        case INVERSE_ROOT:
            return (REAL)-0.5 * x * x * x;
        case ABSOLUTE:
            return x > 0 ? all(1) : x < 0 ? all(-1) : Vector{};
        case SINE:
            return sines(x, 1);
        case COSINE:
            return sines(x, 2);
        case SOFTPLUS:
            return x > 20 ? all(1) : sigmoid(x);
        case GELU:
            return normal(x) +
                   x * (REAL)0.39894228040143267794 * exponential((REAL)-0.5 * x * x);
        default:
            return all(1);
    }
}

// Activate hidden neurons; a ReLU is part of the product before.
void activate(const Rollout& r, const REAL* hidden, int64_t count, REAL* active) {
    if (r.activation == RELU || r.activation == IDENTITY) return;
    for (int64_t n = 0; n < count; n += LANES) 
        store(active + n, activated(r.activation, r.slope, load(hidden + n)));
}

// Take the gradient of some rows of active neurons back to before the activation, in place, and
// add it up for the bias.
void activate_back(const Rollout& r, const REAL* values, REAL* gradient, int64_t rows,
                   REAL* d_bias) {
    for (int64_t h = 0; h < r.hidden; h += LANES) {
        Vector sum = load(d_bias + h);
        for (int64_t n = 0; n < rows; n++) {
            const int64_t at = n * r.hidden + h;
            const Vector slope = 
                load(gradient + at) * derivative(r.activation, r.slope, load(values + at));
            store(gradient + at, slope);
            sum += slope;
        }
        store(d_bias + h, sum);
    }
}

}  // namespace
