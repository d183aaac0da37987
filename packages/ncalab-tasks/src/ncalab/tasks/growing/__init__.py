"""Growing: an image from a single cell."""

from ncalab.tasks.growing.data import GrowingNCADataset
from ncalab.tasks.growing.model import GrowingNCAModel
from ncalab.tasks.growing.preset import (
    GrowingPreset,
    Quality,
    growing_preset,
    seconds_per_epoch,
)
from ncalab.tasks.growing.report import (
    Cut,
    GrowthReport,
    cut_circle,
    describe_error,
    measure_growth,
)
from ncalab.tasks.growing.watching import GrowthWatch, duration

__all__ = [
    "Cut",
    "GrowingNCADataset",
    "GrowingNCAModel",
    "GrowingPreset",
    "GrowthReport",
    "GrowthWatch",
    "Quality",
    "cut_circle",
    "describe_error",
    "duration",
    "growing_preset",
    "measure_growth",
    "seconds_per_epoch",
]
