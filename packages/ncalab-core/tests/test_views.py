"""Perceptions that are lists of views, on grids of one to three axes."""

import math
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import pytest
import torch
from core_models import TinyModel
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_of_cells import VIEWS, views_of
from rollout_checks import assert_gradients_agree, slopes_where_used, states_and_slopes
from torch import Tensor, nn

from ncalab.core import BasicNCAPerception, GatedNCARule, MLPNCARule
from ncalab.core.multiscale.grids import coarse_size, resize, sample_cells
from ncalab.core.perception import (
    AttentionView,
    IsotropicView,
    LaplaceView,
    LearnedView,
    SobelView,
    SteerableView,
    View,
    ViewsNCAPerception,
    fixed_filters,
)
from ncalab.core.rollout import rollout, tiled_rollout, why_not_fused
from ncalab.core.rollout.cpu.compiled.library import library

CPU = torch.device("cpu")
CHANNELS = 11

TOO_MANY = "must need at most 268435456 weights in a layer"
needs_compiled = pytest.mark.skipif(
    isinstance(library(torch.float32), str), reason="needs the compiled engine"
)

GRIDS = {1: (7,), 2: (5, 6), 3: (3, 4, 5)}


def make(views: list[Any], dims: int = 2, **arguments: Any) -> TinyModel:
    torch.manual_seed(1)
    arguments = {"perception_type": ViewsNCAPerception, **arguments}
    if arguments["perception_type"] is ViewsNCAPerception:
        arguments["perception_args"] = {"views": views}
    model = TinyModel(CPU, 4, 5, 2, hidden_size=8, spatial_dims=dims, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.double()


def states(grid: tuple[int, ...], batch: int = 2) -> Tensor:
    torch.manual_seed(3)
    return torch.randn(batch, CHANNELS, *grid, dtype=torch.float64)


@needs_compiled
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_cell_runs_on_the_fast_engine_as_on_the_reference(data: st.DataObject) -> None:
    arguments = data.draw(
        st.fixed_dictionaries(
            {
                "filter_padding": st.sampled_from(["zero", "reflect", "replicate", "circular"]),
                "fire_rate": st.sampled_from([0.0, 0.4, 1.0]),
                "use_alive_mask": st.booleans(),
                "use_temporal_encoding": st.booleans(),
                "immutable_image_channels": st.booleans(),
                "rule_type": st.sampled_from([MLPNCARule, GatedNCARule]),
                "dt": st.sampled_from([1.0, 0.5]),
            }
        )
    )
    dims = data.draw(st.integers(1, 3))
    name = data.draw(st.sampled_from(sorted(VIEWS)))
    model = make(views_of(name, dims), dims, **arguments)
    x = states(tuple(data.draw(st.integers(1, 5)) for _ in range(dims)))
    checkpoint = data.draw(st.sampled_from([None, 2]))

    fast = states_and_slopes(model, x, 3, engine="fused", checkpoint=checkpoint)

    plain = states_and_slopes(model, x, 3, engine="reference")
    torch.testing.assert_close(fast[0], plain[0], atol=1e-10, rtol=0)
    assert_gradients_agree(fast[1:], plain[1:], relative=1e-9, rounding=1e-13)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_the_documented_arguments_are_the_usual_lists_to_the_bit(
    learned: bool, engine: Any
) -> None:
    usual: dict[str, Any] = {"num_learned_filters": 2} if learned else {"use_laplace": True}
    plain = make([], perception_type=BasicNCAPerception, **usual)
    listed = make([LearnedView] if learned else [SobelView, LaplaceView])
    x = states((6, 7))

    a, b = (states_and_slopes(model, x, 4, engine=engine) for model in (plain, listed))

    assert torch.equal(a[0], b[0])
    # Gradients of the views are added in another order.
    for one, other in zip(a[1:], b[1:], strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_view_has_right_gradients(name: str, dims: int) -> None:
    model = make(views_of(name, dims), dims)
    x = states((2, 3, 2)[:dims], batch=1).requires_grad_()

    seen = model.perception(x)

    assert seen.shape == (1, model.perception.output_size, *x.shape[2:])
    assert torch.autograd.gradcheck(model.perception, (x,), fast_mode=True)


@pytest.mark.parametrize("padding", ["zero", "reflect", "replicate", "circular"])
def test_a_volume_of_one_layer_is_a_picture(padding: Any) -> None:
    flat = make([(LearnedView, {"num_filters": 2})], filter_padding=padding, use_alive_mask=True)
    deep = make([(LearnedView, {"num_filters": 2})], 3, filter_padding=padding, use_alive_mask=True)
    wide, thin = flat.perception.get_parameter("views.0.filters"), deep.perception
    deep.rule.load_state_dict(flat.rule.state_dict())
    with torch.no_grad():
        thin.get_parameter("views.0.filters").zero_()[..., 1] = wide
    x = states((6, 5))

    for engine in ("reference", "fused"):
        want = rollout(flat, x, 4, seed=1, engine=engine)
        got = rollout(deep, x[..., None], 4, seed=1, engine=engine)
        torch.testing.assert_close(got[..., 0], want)


def rotations(dims: int) -> list[tuple[tuple[int, ...], list[int]]]:
    """Return the rotations of a square or a cube: the order of axes, and which are flipped."""
    return [
        (order, [axis for axis, flip in enumerate(flips) if flip < 0])
        for order in permutations(range(dims))
        for flips in product((1, -1), repeat=dims)
        if torch.linalg.det(torch.eye(dims)[list(order)]).round() * math.prod(flips) == 1
    ]


@pytest.mark.parametrize(("dims", "count"), [(2, 4), (3, 24)])
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_rotations_commute_with_an_isotropic_step(dims: int, count: int, engine: Any) -> None:
    views = [(IsotropicView, {"determinants": 4})]
    model = make(views, dims, fire_rate=1.0, filter_padding="circular", use_alive_mask=True)
    x = states((4,) * dims, batch=1)
    after = rollout(model, x, 3, engine=engine)

    turns = rotations(dims)

    assert len(turns) == count
    for order, flips in turns:

        def turn(x: Tensor, order: Any = order, flips: Any = flips) -> Tensor:
            axes = [2 + axis for axis in order]
            return x.permute(0, 1, *axes).flip([2 + axis for axis in flips])

        torch.testing.assert_close(rollout(model, turn(x), 3, engine=engine), turn(after))


def test_a_turned_angle_turns_what_a_steerable_cell_sees() -> None:
    model = make([(SteerableView, {"angle_channel": 5})], filter_padding="circular")
    x = states((5, 5), batch=1)
    turned = x.rot90(1, (2, 3)).clone()
    turned[:, 5] -= torch.pi / 2

    seen, seen_turned = model.perception(x), model.perception(turned)

    same = [c for c in range(3 * CHANNELS) if c % CHANNELS != 5]
    torch.testing.assert_close(seen_turned[:, same], seen.rot90(1, (2, 3))[:, same])


def test_attention_is_a_mean_of_values_weighted_by_products() -> None:
    model = make([(AttentionView, {"heads": 1, "head_size": 3})])
    view: Any = model.perception.get_submodule("views.0")
    x = states((3, 3), batch=1)

    seen = model.perception(x)[0, CHANNELS:, 1, 1]

    around = x[0].flatten(1)  # (C, 9): all cells are neighbours of the middle one
    query = view.query.weight[..., 0, 0] @ x[0, :, 1, 1]
    keys, values = (view.key_and_value.weight[..., 0, 0] @ around).split(3)
    weights = (query @ keys / 3**0.5 + view.place_bias[0]).softmax(0)
    torch.testing.assert_close(seen, values @ weights)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_sobel_measures_slopes_and_laplace_curvature(dims: int) -> None:
    axes = torch.meshgrid(*[torch.arange(5.0)] * dims, indexing="ij")
    filters = fixed_filters(use_laplace=True, spatial_dims=dims)
    middle = (slice(1, 4),) * dims

    for axis, place in enumerate(axes):
        slopes = [(f * place[middle]).sum().item() for f in filters]
        assert slopes[:dims] == [float(dims - 1 - n == axis) for n in range(dims)]
        assert slopes[-1] == pytest.approx(0, abs=1e-6)
    curved = torch.stack([(a - 2) ** 2 for a in axes]).sum(0)
    assert (filters[-1] * curved[middle]).sum() > 0


class MaximumView(View):
    """The largest value among a cell and its eight neighbours: a view as a user may write it."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__(channels, spatial_dims)
        self.set_filters(torch.eye(9).view(9, 3, 3))

    @property
    def output_size(self) -> int:
        return self.channels

    def combine(self, state: Tensor, filtered: Tensor) -> Tensor:
        largest: Tensor = filtered.unflatten(1, (9, self.channels)).amax(dim=1)
        return largest


def test_a_view_of_ones_own_runs_on_the_fast_engine() -> None:
    model = make([MaximumView, SobelView], filter_padding="replicate")
    x = states((5, 4))

    largest = model.perception(x)[:, CHANNELS : 2 * CHANNELS]

    padded = nn.functional.pad(x, [1] * 4, mode="replicate")
    torch.testing.assert_close(largest, nn.functional.max_pool2d(padded, 3, stride=1))
    assert why_not_fused(model, x) is None
    fast, plain = (states_and_slopes(model, x, 3, engine=e) for e in ("fused", "reference"))
    for got, want in zip(fast, plain, strict=True):
        torch.testing.assert_close(got, want)


class NeighbourlyView(SobelView):
    """A view that looks beyond its filters."""

    def combine(self, state: Tensor, filtered: Tensor) -> Tensor:
        return filtered - filtered.mean(dim=2, keepdim=True)


class ForwardView(SobelView):
    """A view that is computed otherwise."""

    def forward(self, x: Tensor, padding: Any) -> Tensor:
        return super().forward(x, padding) ** 2


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (NeighbourlyView, "the perception has a NeighbourlyView, whose updates of a cell depend"),
        (ForwardView, "ForwardView overrides forward"),
    ],
)
def test_a_view_that_only_the_reference_can_run_says_why(view: type[View], reason: str) -> None:
    said = why_not_fused(make([view]), states((4, 4)))

    assert said is not None and said.startswith(reason)


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_saved(name: str, tmp_path: Any) -> None:
    model = make(VIEWS[name]).float()
    x = states((4, 5)).float()

    model.save_pretrained(tmp_path)
    twin = TinyModel.from_pretrained(tmp_path)

    assert torch.equal(rollout(twin, x, 3, seed=1), rollout(model, x, 3, seed=1))


def test_tiles_reach_as_far_as_a_dilated_view() -> None:
    model = make([(LearnedView, {"dilation": 3})], filter_padding="circular")
    x = states((60, 4), batch=1)

    tiled = tiled_rollout(model, x, 4, seed=1, tile=25, progress=False)

    torch.testing.assert_close(tiled, rollout(model, x, 4, seed=1))


@pytest.mark.parametrize("dims", [1, 3])
def test_tiles_cut_grids_of_any_number_of_axes(dims: int) -> None:
    model = make([SobelView], dims)
    x = states((40, 3, 4)[:dims], batch=2)

    tiled = tiled_rollout(model, x, 4, seed=1, tile=12, progress=False)

    torch.testing.assert_close(tiled, rollout(model, x, 4, seed=1))


@pytest.mark.parametrize(
    ("views", "dims", "message"),
    [
        ("sobel", 2, "views must be a list of views, got 'sobel'"),
        ([nn.Linear], 2, "views must be classes of views, or pairs"),
        ([(SobelView, {"size": 3})], 2, "views must have arguments of SobelView: "),
        ([(LearnedView, {"kernel_size": 4})], 2, "kernel_size must be odd, got 4"),
        ([(LearnedView, {"dilation": 0})], 2, "dilation must be at least 1, got 0"),
        ([(IsotropicView, {"determinants": 12})], 2, r"determinants must be 0, or in \[2, 11\]: "),
        ([(IsotropicView, {"determinants": 1})], 2, r"determinants must be 0, or in \[2, 11\]: "),
        ([(IsotropicView, {"determinants": 2})], 3, r"determinants must be 0, or in \[3, 11\]: "),
        ([(IsotropicView, {"determinants": 2})], 1, "determinants must be 0 on a grid of one axis"),
        ([(LearnedView, {"num_filters": 10**9})], 2, f"num_filters and kernel_size {TOO_MANY}"),
        ([(LearnedView, {"kernel_size": 100001})], 2, f"num_filters and kernel_size {TOO_MANY}"),
        ([(AttentionView, {"head_size": 10**9})], 2, f"heads and head_size {TOO_MANY}"),
        ([(AttentionView, {"heads": 10**9})], 2, f"heads and head_size {TOO_MANY}"),
        ([SteerableView], 3, "spatial_dims must be 2 to turn gradients, got 3"),
        ([(SteerableView, {"angle_channel": 11})], 2, "angle_channel must be below 11, got 11"),
        ([(AttentionView, {"heads": 0})], 2, "heads must be at least 1, got 0"),
    ],
)
def test_bad_views_are_named(views: Any, dims: int, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(views, dims)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 1, 2 or 3, got 4"),
        ({"perception_type": SobelView}, "perception_type must be a class of perceptions"),
        ({"perception_args": {"taps": 3}}, "perception_args must be further arguments of Basic"),
    ],
)
def test_bad_arguments_of_a_model_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        TinyModel(CPU, 4, 5, 2, **arguments)


def test_a_state_must_have_the_axes_of_the_model() -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(B, C, W, H, D\), none of them 0"):
        rollout(make([], 3), states((4, 5)), 1)


@pytest.mark.parametrize("dims", [1, 3])
def test_a_cell_of_noise_is_the_same_alone_and_in_a_batch(dims: int) -> None:
    model = make([SobelView], dims, use_alive_mask=True).float()
    image = states((5, 4, 3)[:dims])[:, :4].float()

    together = model.predict(image, 4, seed=2)
    alone = model.predict(image[1:], 4, seed=2, samples=[1])

    assert torch.equal(together.output_image[1:], alone.output_image)
    assert torch.equal(model.record(image, 4, seed=2)[-1].output_image, together.output_image)


@pytest.mark.parametrize("dims", [1, 3])
def test_scales_of_any_number_of_axes(dims: int) -> None:
    size = (9, 5, 4)[:dims]
    state = torch.zeros(1, 2, *size)
    middle = tuple(n // 2 for n in size)
    state[(0, 0, *middle)] = 1

    coarse = coarse_size(size, 3)
    picked = sample_cells(state, coarse)

    assert picked.shape[2:] == coarse and picked.sum() == 1
    assert resize(state, coarse).shape[2:] == coarse
    assert resize(resize(state, coarse), size).shape == state.shape
    assert sample_cells(state, size) is state


class ComputedView(View):
    """A view that a test writes as a function of states and what one filter gives."""

    compute: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__(channels, spatial_dims)
        self.filters = nn.Parameter(torch.ones(1, channels, *[3] * spatial_dims))

    def combine(self, state: Tensor, filtered: Tensor) -> Tensor:
        return type(self).compute(state, filtered)


def computed(compute: Callable[[Tensor, Tensor], Tensor], dims: int = 2) -> TinyModel:
    ComputedView.compute = compute
    return make([ComputedView], dims)


def assert_engines_agree(model: TinyModel, x: Tensor, engine: Any = "fused") -> None:
    fast = slopes_where_used(model, x, engine)
    plain = slopes_where_used(model, x, "reference")
    for got, want in zip(fast, plain, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


@needs_compiled
def test_a_gradient_that_a_view_stops_is_stopped() -> None:
    assert_engines_agree(computed(lambda s, f: f.detach() * s), states((5, 4)))


@needs_compiled
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "change",
    [
        lambda s, f: s.clamp_(0, 0.5) + f,
        lambda s, f: s + f.relu_(),
        lambda s, f: s.expm1_() + f.erf_(),  # not a program
    ],
)
def test_a_view_may_change_its_inputs_but_not_the_states(
    change: Callable[[Tensor, Tensor], Tensor], dims: int
) -> None:
    def unchanging(state: Tensor, filtered: Tensor) -> Tensor:
        return change(state.clone(), filtered.clone())

    x = states(GRIDS[dims]).clamp(-0.9, 0.9)

    assert why_not_fused(computed(change, dims), x) is None
    assert_engines_agree(computed(change, dims), x)
    for engine in ("fused", "reference"):
        found = [slopes_where_used(computed(c, dims), x, engine) for c in (change, unchanging)]
        for got, want in zip(*found, strict=True):
            assert torch.equal(got, want)


@needs_compiled
def test_a_view_that_mixes_samples_runs_on_the_reference() -> None:
    model, x = computed(lambda _, f: f - f.mean(dim=0, keepdim=True)), states((5, 4))

    reason = why_not_fused(model, x)

    assert reason is not None
    assert reason.endswith("ComputedView, whose updates of a sample depend on other samples")
    assert_engines_agree(model, x, "auto")


def test_tiles_need_a_view_that_treats_each_cell_by_itself() -> None:
    model = computed(lambda _, f: f - f.mean(dim=2, keepdim=True))

    with pytest.raises(ValueError, match="ComputedView, whose updates of a cell depend on other"):
        tiled_rollout(model, states((20, 4)), 1, tile=6, progress=False)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_view_of_a_wrong_shape_is_an_error(dims: int) -> None:
    model, x = computed(lambda _, f: f.movedim(1, -1), dims), states(GRIDS[dims])
    cells = math.prod(GRIDS[dims])
    expected = rf"shape \(2, 11, {cells}, 1\) for states of .*, got \(2, {cells}, 1, 11\)"

    with pytest.raises(ValueError, match=f"^ComputedView.combine must return {expected}$"):
        rollout(model, x, 1)


@pytest.mark.parametrize(("dims", "dilation"), [(1, 2**60), (2, 10**9), (3, 10**6)])
def test_a_dilation_that_no_memory_could_serve_is_an_error(dims: int, dilation: int) -> None:
    message = rf"^dilation and kernel_size must .* below 2\*\*63 bytes, got {dilation} and 3: "

    with pytest.raises(ValueError, match=message):
        LearnedView(CHANNELS, dims, dilation=dilation)


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_a_border_that_does_not_fit_in_memory_is_an_error(engine: Any, padding: str) -> None:
    # Half a petabyte.
    model = make([(LearnedView, {"dilation": 10**6})], filter_padding=padding)
    message = r"leave a grid of 5 x 6 cells with a border that fits in memory, got 1000000 and 3: "

    with pytest.raises(ValueError, match=message):
        rollout(model, states(GRIDS[2]), 1, engine=engine)


@pytest.mark.parametrize("arguments", [{"dilation": 30}, {"dilation": 2**62, "kernel_size": 1}])
def test_a_dilation_beyond_the_grid_is_served(arguments: dict[str, int]) -> None:
    model, x = make([(LearnedView, arguments)]), states(GRIDS[2])

    assert_engines_agree(model, x, "auto")
