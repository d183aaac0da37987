import numpy as np
import pytest
import torch
from matplotlib import pyplot, rcParams
from viz_models import make_fading

from ncalab.viz import Visual, VisualGrowing


@pytest.mark.parametrize("batch", [1, 5, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_batch_is_drawn_and_nothing_changed(batch: int, channels: int) -> None:
    model = make_fading(channels)
    state = np.random.default_rng(0).random((batch, model.num_channels, 7, 19))
    label = np.random.default_rng(1).random((batch, channels, 7, 19))
    prediction = model.predict(torch.from_numpy(state), 3)
    kept = [state.copy(), label.copy(), prediction.output_array.copy()]
    settings, figures = dict(rcParams), pyplot.get_fignums()

    figure = VisualGrowing().show(model, state, prediction, label)
    figure.canvas.draw()

    assert len(figure.axes) >= 4 * min(batch, 8)
    for before, after in zip(kept, [state, label, prediction.output_array], strict=True):
        np.testing.assert_array_equal(before, after)
    assert pyplot.get_fignums() == figures
    assert dict(rcParams) == settings


def test_the_error_row_shows_the_mean_absolute_error() -> None:
    model = make_fading(3)
    state = np.zeros((1, model.num_channels, 4, 5), np.float32)
    label = np.zeros((1, 3, 4, 5), np.float32)
    label[0, :, 2, 3] = (0.5, 0.2, 0.2)
    prediction = model.predict(torch.from_numpy(state), 2)  # 0.2 everywhere

    figure = VisualGrowing().show(model, state, prediction, label)

    shown = np.asarray(figure.axes[3].get_images()[0].get_array())
    np.testing.assert_allclose(shown[0, 0], 0.2, rtol=1e-6)
    np.testing.assert_allclose(shown[2, 3], 0.1, rtol=1e-6)


def test_a_visual_without_show_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="show"):
        Visual()  # type: ignore[abstract]  # the fault under test
