import numpy as np
import pytest
import torch
from core_models import MakeModel

from ncalab.core import Prediction


def prediction_of(make_model: MakeModel) -> Prediction:
    state = torch.arange(2 * 9 * 2 * 3.0).view(2, 9, 2, 3)
    return Prediction(make_model(), 5, state, state[:, 7:])


def test_channels_are_image_then_hidden_then_output(make_model: MakeModel) -> None:
    prediction = prediction_of(make_model)
    state = prediction.output_image

    parts = [prediction.image_channels, prediction.hidden_channels, prediction.output_channels]

    assert [part.shape[1] for part in parts] == [4, 3, 2]
    assert torch.equal(torch.cat(parts, dim=1), state)


@pytest.mark.parametrize("name", ["image_channels", "hidden_channels", "output_channels"])
def test_arrays_equal_their_tensors(make_model: MakeModel, name: str) -> None:
    prediction = prediction_of(make_model)

    array = getattr(prediction, f"{name}_np")

    assert np.array_equal(array, getattr(prediction, name).numpy())


def test_the_state_is_copied_once(make_model: MakeModel) -> None:
    prediction = prediction_of(make_model)

    assert prediction.output_array is prediction.output_array
    assert np.shares_memory(prediction.image_channels_np, prediction.output_array)
    assert np.array_equal(prediction.logits_array, prediction.logits.numpy())
    assert prediction.head_prediction_array is None


def test_a_sample_is_a_batch_of_one(make_model: MakeModel) -> None:
    prediction = prediction_of(make_model)

    one = prediction[-1]

    assert torch.equal(one.output_image, prediction.output_image[1:])
    assert torch.equal(one.logits, prediction.logits[1:])
    assert one.steps == 5
    with pytest.raises(IndexError, match="got 2"):
        prediction[2]


def test_bfloat16_states_have_arrays(make_model: MakeModel) -> None:
    state = torch.ones(1, 9, 2, 2, dtype=torch.bfloat16)

    assert Prediction(make_model(), 1, state, state).output_array.dtype == np.float32


def test_detach_drops_the_graph(make_model: MakeModel) -> None:
    prediction: Prediction = make_model()(torch.rand(1, 9, 2, 2), 1)

    assert prediction.logits.requires_grad
    assert not prediction.detach().logits.requires_grad


def test_the_repr_names_steps_shapes_and_device(make_model: MakeModel) -> None:
    assert repr(prediction_of(make_model)) == (
        "Prediction(steps=5, output_image=(2, 9, 2, 3), logits=(2, 2, 2, 3), device='cpu')"
    )
