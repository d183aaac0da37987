"""The nonlinearities that the CUDA engine's kernels know, and their derivatives.

Each is named by a string, which is a constant of the compiled kernel, and takes up to three
numbers. Derivatives at a kink are torch's.
"""

import triton
import triton.language as tl

ROOT_HALF = tl.constexpr(0.7071067811865476)
ROOT_TWO_OVER_PI = tl.constexpr(0.7978845608028654)
NORMAL_AT_ZERO = tl.constexpr(0.3989422804014327)
CUBIC = tl.constexpr(0.044715)


@triton.jit
def sigmoid(x):
    """Return the logistic function, from exponents that cannot overflow."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
def tanh(x):
    """Return the hyperbolic tangent, from exponents that cannot overflow."""
    e = tl.exp(-2.0 * tl.abs(x))
    t = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -t, t)


@triton.jit
def activate(x, ACT: tl.constexpr, A: tl.constexpr, B: tl.constexpr, S: tl.constexpr):
    """Apply the nonlinearity; a NaN stays one."""
    y = x
    if ACT == "relu":
        y = tl.where(x <= 0, 0.0, x)
    elif ACT == "leaky_relu":
        y = tl.where(x > 0, x, A * x)
    elif ACT == "clamp":  # between A and B
        y = tl.where(x < A, A, tl.where(x > B, B, x))
    elif ACT == "elu":  # S (x above 0, else A (exp(B x) - 1))
        y = S * tl.where(x > 0, x, A * (tl.exp(B * tl.minimum(x, 0.0)) - 1.0))
        y = tl.where(x == x, y, x)
    elif ACT == "sigmoid":
        y = sigmoid(x)
    elif ACT == "silu":
        y = x * sigmoid(x)
    elif ACT == "tanh":
        y = tanh(x)
    elif ACT == "softplus":  # log(1 + exp(A x)) / A, and x where A x exceeds B
        soft = tl.log(1.0 + tl.exp(-tl.abs(A * x))) / A + tl.where(x > 0, x, 0.0)
        y = tl.where(A * x > B, x, soft)
        y = tl.where(x == x, y, x)
    elif ACT == "gelu":
        y = 0.5 * x * (1.0 + tl.erf(x * ROOT_HALF))
    elif ACT == "gelu_tanh":
        y = 0.5 * x * (1.0 + tanh((x + x * x * x * CUBIC) * ROOT_TWO_OVER_PI))
    else:
        tl.static_assert(ACT == "identity", "unknown nonlinearity")
    return y


@triton.jit
def slope(x, ACT: tl.constexpr, A: tl.constexpr, B: tl.constexpr, S: tl.constexpr):
    """Return the derivative of the nonlinearity at x."""
    d = tl.full(x.shape, 1.0, x.dtype)
    if ACT == "relu":
        d = tl.where(x > 0, d, 0.0)
    elif ACT == "leaky_relu":
        d = tl.where(x > 0, d, A)
    elif ACT == "clamp":
        d = tl.where((x > A) & (x < B), d, 0.0)
    elif ACT == "elu":
        d = S * tl.where(x > 0, d, A * B * tl.exp(B * tl.minimum(x, 0.0)))
    elif ACT == "sigmoid":
        s = sigmoid(x)
        d = s * (1.0 - s)
    elif ACT == "silu":
        s = sigmoid(x)
        d = s * (1.0 + x * (1.0 - s))
    elif ACT == "tanh":
        t = tanh(x)
        d = 1.0 - t * t
    elif ACT == "softplus":
        d = tl.where(A * x > B, d, sigmoid(A * x))
    elif ACT == "gelu":
        density = tl.exp(-0.5 * x * x) * NORMAL_AT_ZERO
        d = 0.5 * (1.0 + tl.erf(x * ROOT_HALF)) + x * density
    elif ACT == "gelu_tanh":
        t = tanh((x + x * x * x * CUBIC) * ROOT_TWO_OVER_PI)
        inner = (1.0 + x * x * (3.0 * CUBIC)) * ROOT_TWO_OVER_PI
        d = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
    else:
        tl.static_assert(ACT == "identity", "unknown nonlinearity")
    return d
