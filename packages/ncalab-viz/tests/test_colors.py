from itertools import combinations

import numpy as np
import pytest

from ncalab.viz.colors import class_colors, color_limits, color_values

# Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1, linear RGB.
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(rgb: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of linear light, whose distances are perceived ones."""
    xyz = np.clip(light, 0, 1) @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize(("count", "least"), [(7, 12.0), (12, 7.0)])
def test_colours_of_classes_stay_apart_for_the_colour_blind(
    deficiency: str, count: int, least: float
) -> None:
    seen = lab(linear(class_colors(count)) @ np.array(DEFICIENCIES[deficiency]).T)

    closest = min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))

    assert closest > least  # a difference of 2.3 is just noticeable


@pytest.mark.parametrize("count", [1, 12, 13, 100])
def test_every_class_has_a_colour_of_its_own(count: int) -> None:
    colors = class_colors(count)

    assert colors.shape == (count, 3)
    assert len(np.unique(colors, axis=0)) == count


def test_the_colour_of_a_class_does_not_depend_on_the_number_of_classes() -> None:
    assert class_colors(3).tolist() == class_colors(12)[:3].tolist()


def test_values_go_from_dark_to_bright_and_unknown_ones_show_the_background() -> None:
    image = color_values(np.array([[np.nan, -9.0, 1.0, 3.0, 99.0]]), 1, 3, (1.0, 0.0, 0.0))

    brightness = image[0].mean(axis=-1)
    assert image[0, 0].tolist() == [1, 0, 0]
    assert brightness[1] == brightness[2] < brightness[3] == brightness[4]


def test_limits_leave_outliers_out() -> None:
    values = np.append(np.linspace(0, 1, 999), 1e9)

    assert color_limits(values) == pytest.approx((0.01, 0.99), abs=2e-3)


@pytest.mark.parametrize("values", [[], [np.nan, np.inf], [-3.0, -3.0]])
def test_limits_of_anything_are_a_range(values: list[float]) -> None:
    low, high = color_limits(np.array(values))

    assert low < high
