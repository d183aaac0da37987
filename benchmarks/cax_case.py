"""The benchmark's step in cax, a library of cellular automata in JAX (compiled scan).

Source: Faldor and Cully, CAX: Cellular Automata Accelerated in JAX, 2024, arXiv:2410.02651.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

CHANNELS, HIDDEN, FIRE_RATE = 16, 128, 0.5


class CaxCase(NamedTuple):
    """What cax runs: an automaton of the common size.

    Attributes:
        batch: Number of samples.
        grid: Sizes of the grid, of one to three axes.
        steps: Steps of a rollout.
        alive_mask: Whether cells without a visible neighbour are cleared.
    """

    batch: int
    grid: tuple[int, ...]
    steps: int
    alive_mask: bool = False


def available() -> str | None:
    """Return the version of cax, None where it is not installed."""
    try:
        import cax
    except ImportError:
        return None
    from importlib.metadata import version

    del cax
    return version("cax")


def runs_of(case: CaxCase, kind: str) -> dict[str, Callable[[], None]]:
    """Return the timed call; it ends when the result is there."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    nca = _automaton(case, nnx.Rngs(0))
    state = jax.random.uniform(jax.random.key(0), (case.batch, *case.grid, CHANNELS))

    def loss(nca: Any, state: Any) -> Any:
        return jnp.square(nca(state, num_steps=case.steps)[..., :4]).mean()

    gradient = nnx.jit(nnx.grad(loss))

    def forward() -> None:
        nca(state, num_steps=case.steps).block_until_ready()

    def training() -> None:
        jax.block_until_ready(gradient(nca, state))

    return {"cax": forward if kind == "forward" else training}


def _automaton(case: CaxCase, rngs: Any) -> Any:
    """Build the automaton: identity and Sobel filters, two layers, half of the cells fire."""
    import jax.numpy as jnp
    from cax.core import ComplexSystem
    from cax.core.perceive import ConvPerceive, grad_kernel, identity_kernel
    from cax.core.update import NCAUpdate, ResidualUpdate

    dims = len(case.grid)
    perception_size = (1 + dims) * CHANNELS
    perceive = ConvPerceive(
        channel_size=CHANNELS,
        perception_size=perception_size,
        kernel_size=(3,) * dims,
        feature_group_count=CHANNELS,
        rngs=rngs,
    )
    kernels = [identity_kernel(num_dims=dims), grad_kernel(num_dims=dims)]
    kernel = jnp.concatenate(kernels, axis=-1)
    kernel = jnp.expand_dims(jnp.concatenate([kernel] * CHANNELS, axis=-1), axis=-2)
    perceive.conv.kernel[...] = kernel
    sizes = {
        "channel_size": CHANNELS,
        "perception_size": perception_size,
        "hidden_layer_sizes": (HIDDEN,),
        "cell_dropout_rate": 1 - FIRE_RATE,
        "rngs": rngs,
    }
    update = (
        NCAUpdate(**sizes) if case.alive_mask else ResidualUpdate(num_spatial_dims=dims, **sizes)
    )

    class Automaton(ComplexSystem[Any, Any]):  # type: ignore[misc]  # known where cax is
        def __init__(self) -> None:
            self.perceive, self.update = perceive, update

        def _step(self, state: Any, input: Any = None) -> Any:  # noqa: A002 - cax names it so
            return self.update(state, self.perceive(state), input)

    return Automaton()
