import numpy as np
import pytest
import torch
from viz_models import (
    CellClassModel,
    DepthModel,
    MaskPrediction,
    SegmentationModel,
    make,
    make_fading,
    make_head,
    random_images,
    state_of,
)

from ncalab.viz.colors import class_colors
from ncalab.viz.reading import (
    CellClassReading,
    DepthReading,
    SegmentationReading,
    reading_of,
)
from ncalab.viz.style import AnimatorStyle, animator_style_dark

RED = AnimatorStyle("black", "#ff0000", "white", "white")


def test_every_task_is_read_in_its_way() -> None:
    assert isinstance(reading_of(make(SegmentationModel, 3, 2, 1)), SegmentationReading)
    assert isinstance(reading_of(make(CellClassModel, 1, 2, 10)), CellClassReading)
    assert isinstance(reading_of(make(DepthModel, 3, 2, 1)), DepthReading)
    assert isinstance(reading_of(make_fading(3, 2, 4)), SegmentationReading)
    assert reading_of(make_fading(4, 2, 0)) is None
    assert reading_of(make_head()) is None


def test_one_logit_is_a_foreground_and_several_are_classes() -> None:
    for logits, want in (
        (torch.tensor([[[[0.1, -0.1, 0.0]]]]), [[1, 0, 0]]),
        (torch.tensor([[[[3.0, 0.0, 0.0]], [[1.0, 2.0, 0.0]], [[0.0, 0.0, 1.0]]]]), [[0, 1, 2]]),
    ):
        model = make(SegmentationModel, 1, 0, logits.shape[1])
        state = state_of(model, torch.zeros(1, 1, 1, 3), logits)

        planes = SegmentationReading(logits.shape[1]).planes(model.predict(state, 1))

        assert planes[0].tolist() == want


def test_the_mask_of_a_prediction_is_believed() -> None:
    model = make(SegmentationModel, 1, 0, 1)
    state = state_of(model, torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.5, 1.5]]]]))
    prediction = MaskPrediction(model, 1, state, state[:, 1:])

    assert SegmentationReading(1).planes(prediction).tolist() == [[[0, 1]]]


def test_labels_that_are_no_class_are_no_mistake() -> None:
    reading = SegmentationReading(1)
    label = np.array([[[0, 1, 255, -100, 1]]])

    truth = reading.truth(label, (1, 1, 5))
    error = reading.error(np.array([[[0, 0, 1, 1, 1]]]), truth)

    assert np.nan_to_num(error, nan=9).tolist() == [[[0, 1, 9, 9, 0]]]


def test_only_the_mask_is_tinted() -> None:
    image = random_images(1, 3)[0].numpy()
    plane = np.zeros((7, 19), np.float32)
    plane[2, 3], plane[4, 5] = 1, np.nan

    drawn = SegmentationReading(1).paint(image, plane, RED)

    off = plane != 1
    np.testing.assert_array_equal(drawn[off], np.moveaxis(image, 0, -1)[off])
    np.testing.assert_allclose(drawn[2, 3], image[:, 2, 3] / 2 + (0.5, 0, 0))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_living_cells_get_the_colour_of_their_class_and_dead_ones_none(channels: int) -> None:
    model = make(CellClassModel, channels, 0, 5)
    images = random_images(1, channels)
    images[:, -1, :3] = 0.0
    images[:, -1, 3:] = 1.0
    output = torch.zeros(1, 5, 7, 19)
    output[:, 4] = 1.0
    prediction = model.predict(state_of(model, images, output), 1)
    reading = CellClassReading(5)

    plane = reading.planes(prediction)[0]
    drawn = reading.paint(images[0].numpy(), plane, RED)
    nothing = reading.paint(images[0].numpy(), np.full((7, 19), np.nan, np.float32), RED)

    color = class_colors(5)[4]
    if channels == 3:
        assert (plane == 4).all()
        np.testing.assert_allclose(drawn, (nothing + color) / 2, rtol=1e-6)
    else:
        assert np.isnan(plane[:3]).all() and (plane[3:] == 4).all()
        np.testing.assert_array_equal(drawn[:3], nothing[:3])
        np.testing.assert_allclose(drawn[3:], np.broadcast_to(color, (4, 19, 3)))


def test_depths_are_those_of_interpret_and_colours_span_their_range() -> None:
    model = make(DepthModel, 1, 0, 1)
    output = torch.linspace(1, 2, 133).reshape(1, 1, 7, 19)
    prediction = model.predict(state_of(model, random_images(1, 1), output), 1)
    reading = DepthReading(model)

    planes = reading.planes(prediction)
    reading.fit(planes)
    drawn = reading.paint(np.zeros((1, 7, 19)), planes[0], animator_style_dark)

    np.testing.assert_allclose(planes, 2 * output[:, 0])
    assert reading.limits == pytest.approx((2.02, 3.98), abs=1e-3)
    assert drawn[0, 0].tolist() == pytest.approx([0.267, 0.005, 0.329], abs=1e-3)
    assert drawn[6, 18].tolist() == pytest.approx([0.993, 0.906, 0.144], abs=1e-3)


def test_unknown_depths_are_no_error() -> None:
    reading = DepthReading(make(DepthModel, 1, 0, 1))

    truth = reading.truth(np.array([[[[1.0, 0.0, -1.0, np.nan, np.inf]]]]), (1, 1, 5))

    error = reading.error(np.full((1, 1, 5), 3.0), truth)
    assert np.nan_to_num(error, nan=9).tolist() == [[[2, 9, 9, 9, 9]]]


def test_legends_name_what_can_be_said() -> None:
    names = ["background", "interior", "border of it"]

    assert [name for name, _ in SegmentationReading(3, names).legend()] == ["interior", "border…"]
    assert SegmentationReading(1).legend() == []
    assert CellClassReading(2).legend() == [("0", "#e69f00"), ("1", "#56b4e9")]
    assert DepthReading(make(DepthModel, 1, 0, 1)).legend() == []
