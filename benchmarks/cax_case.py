"""The benchmark's step in cax, a library of cellular automata in JAX (compiled scan).

Source: Faldor and Cully, CAX: Cellular Automata Accelerated in JAX, 2024, arXiv:2410.02651.
"""

from collections.abc import Callable
from typing import Any

from cases import Case

CHANNELS, HIDDEN, FIRE_RATE = 16, 128, 0.5


def available() -> str | None:
    """Return the version of cax, None where it is not installed."""
    try:
        import cax
    except ImportError:
        return None
    from importlib.metadata import version

    del cax
    return version("cax")


def runs_of(case: Case, kind: str) -> dict[str, Callable[[], None]]:
    """Return the timed call; it ends when the result is there."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    nca = _automaton(case, nnx.Rngs(0))
    state = jax.random.uniform(jax.random.key(0), (case.batch, case.width, case.height, CHANNELS))

    def loss(nca: Any, state: Any) -> Any:
        return jnp.square(nca(state, num_steps=case.steps)[..., :4]).mean()

    gradient = nnx.jit(nnx.grad(loss))

    def forward() -> None:
        nca(state, num_steps=case.steps).block_until_ready()

    def training() -> None:
        jax.block_until_ready(gradient(nca, state))

    return {"cax": forward if kind == "forward" else training}


def _automaton(case: Case, rngs: Any) -> Any:
    """Build the automaton: identity and Sobel filters, two layers, half of the cells fire."""
    import jax.numpy as jnp
    from cax.core import ComplexSystem
    from cax.core.perceive import ConvPerceive, grad_kernel, identity_kernel
    from cax.core.update import NCAUpdate, ResidualUpdate

    perceive = ConvPerceive(
        channel_size=CHANNELS,
        perception_size=3 * CHANNELS,
        feature_group_count=CHANNELS,
        rngs=rngs,
    )
    kernel = jnp.concatenate([identity_kernel(num_dims=2), grad_kernel(num_dims=2)], axis=-1)
    kernel = jnp.expand_dims(jnp.concatenate([kernel] * CHANNELS, axis=-1), axis=-2)
    perceive.conv.kernel[...] = kernel
    sizes = {
        "channel_size": CHANNELS,
        "perception_size": 3 * CHANNELS,
        "hidden_layer_sizes": (HIDDEN,),
        "cell_dropout_rate": 1 - FIRE_RATE,
        "rngs": rngs,
    }
    update = NCAUpdate(**sizes) if case.alive_mask else ResidualUpdate(num_spatial_dims=2, **sizes)

    class Automaton(ComplexSystem[Any, Any]):  # type: ignore[misc]  # known where cax is
        def __init__(self) -> None:
            self.perceive, self.update = perceive, update

        def _step(self, state: Any, input: Any = None) -> Any:  # noqa: A002 - cax names it so
            return self.update(state, self.perceive(state), input)

    return Automaton()
