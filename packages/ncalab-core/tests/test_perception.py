from typing import Any

import numpy as np
import pytest
import torch
from core_models import MakeModel
from hypothesis import given
from hypothesis import strategies as st

from ncalab.core.perception import FilterPadding, fixed_filters, pad_cells

MODES: dict[FilterPadding, str] = {
    "zero": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


@given(
    st.sampled_from(list(MODES)),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 4),
)
def test_padding_equals_numpys_on_every_grid(
    padding: FilterPadding, width: int, height: int, radius: int
) -> None:
    x = torch.arange(float(width * height)).view(1, 1, width, height)
    mode: Any = MODES[padding]

    want = np.pad(x[0, 0].numpy(), radius, mode=mode)

    assert pad_cells(x, radius, padding)[0, 0].numpy().tolist() == want.tolist()


def test_sobel_filters_measure_the_slope_of_a_plane() -> None:
    along_w, along_h = 3.0, -2.0
    plane = torch.arange(5.0)[:, None] * along_w + torch.arange(6.0)[None, :] * along_h
    sobel_h, sobel_w = fixed_filters(use_laplace=False)

    slopes = [
        torch.nn.functional.conv2d(plane[None, None], kernel[None, None])
        for kernel in (sobel_h, sobel_w)
    ]

    assert torch.equal(slopes[0], torch.full_like(slopes[0], along_h))
    assert torch.equal(slopes[1], torch.full_like(slopes[1], along_w))


def test_every_filter_sums_to_zero_and_has_one_scale() -> None:
    filters = fixed_filters(use_laplace=True)

    assert filters.sum(dim=(1, 2)).tolist() == [0, 0, 0]
    assert filters.abs().sum(dim=(1, 2)).tolist() == [1, 1, 1.5]


@pytest.mark.parametrize("arguments", [{}, {"use_laplace": True}, {"num_learned_filters": 2}])
def test_perception_starts_with_the_cell_itself(
    make_model: MakeModel, arguments: dict[str, Any]
) -> None:
    model = make_model(**arguments)
    x = torch.rand(1, model.num_channels, 5, 4)

    seen = model.perception(x)

    assert seen.shape == (1, model.input_vector_size, 5, 4)
    assert torch.equal(seen[:, : model.num_channels], x)


@pytest.mark.parametrize("padding", MODES)
@pytest.mark.parametrize("learned", [0, 2])
def test_every_filter_honours_its_padding(
    make_model: MakeModel, padding: FilterPadding, learned: int
) -> None:
    model = make_model(filter_padding=padding, num_learned_filters=learned)
    x = torch.rand(1, model.num_channels, 4, 5)
    width, mode = model.num_channels, MODES[padding]

    seen = model.perception(x)

    padded = np.pad(x[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode=mode)  # type: ignore[call-overload]  # numpy wants a literal
    perception: Any = model.perception
    for i, kernel in enumerate(perception.filters.detach().numpy()):
        want = sum(
            kernel[:, u, v, None, None] * padded[:, u : u + 4, v : v + 5]
            for u in range(3)
            for v in range(3)
        )
        got = seen[0, (i + 1) * width : (i + 2) * width].detach().numpy()
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_learned_filters_are_trained_saved_counted_and_moved(make_model: MakeModel) -> None:
    model = make_model(num_learned_filters=2)
    without = make_model()

    assert "perception.filters" in model.state_dict()
    more_inputs = (model.input_vector_size - without.input_vector_size) * model.hidden_size
    filters = 2 * model.num_channels * 9
    extra = model.num_trainable_parameters() - without.num_trainable_parameters()
    assert extra == filters + more_inputs
    assert model.double().perception.filters.dtype == torch.float64

    model(torch.rand(1, 9, 4, 4).double(), 2).logits.sum().backward()
    perception: Any = model.perception
    gradient = perception.filters.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_fixed_filters_are_no_parameters(make_model: MakeModel) -> None:
    model = make_model()

    assert list(model.perception.parameters()) == []
    assert not any(name.startswith("perception") for name in model.state_dict())


@pytest.mark.parametrize(("timesteps", "largest"), [(50, 50), ((20, 40), 40)])
def test_temporal_encoding_is_the_step_over_the_training_steps(
    make_model: MakeModel, timesteps: Any, largest: int
) -> None:
    model = make_model(use_temporal_encoding=True, training_timesteps=timesteps)
    x = torch.rand(1, 9, 3, 3)

    times = [model.perception(x, step)[0, -1, 0, 0].item() for step in (0, 1, 10)]

    assert times == pytest.approx([0, 1 / largest, 10 / largest])
