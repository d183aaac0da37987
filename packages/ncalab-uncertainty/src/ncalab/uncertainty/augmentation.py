"""The spread over turned and mirrored images: which cells depend on how the image lies."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.checks import check_batch, check_choice, check_int
from ncalab.uncertainty.passes import DEFAULT_MEMORY, Start, run_passes, start_pass
from ncalab.uncertainty.sampling import Run, SamplingEstimator, Visit

Transforms = Literal["flips", "rotations", "all"]
"""Symmetries of the grid that an image is transformed by."""

Symmetry = tuple[int, bool]
"""Number of quarter turns, after an optional reflection along H."""

# Those that keep width and height come first: they run as one batch on grids of any shape.
_SYMMETRIES: dict[str, list[Symmetry]] = {
    "flips": [(0, False), (0, True), (2, True), (2, False)],
    "rotations": [(0, False), (2, False), (1, False), (3, False)],
    "all": [(turns, mirrored) for turns in (0, 2, 1, 3) for mirrored in (False, True)],
}


def transform(x: Tensor, symmetry: Symmetry) -> Tensor:
    """Reflect, then turn a grid, shape ``(..., W, H)``.

    >>> import torch
    >>> transform(torch.tensor([[1, 2, 3]]), (1, True)).tolist()
    [[1], [2], [3]]
    """
    turns, mirrored = symmetry
    return (x.flip(-1) if mirrored else x).rot90(turns, (-2, -1))


def undo(x: Tensor, symmetry: Symmetry) -> Tensor:
    """Undo :func:`transform`.

    >>> import torch
    >>> undo(transform(torch.tensor([[1, 2, 3]]), (1, True)), (1, True)).tolist()
    [[1, 2, 3]]
    """
    turns, mirrored = symmetry
    x = x.rot90(-turns, (-2, -1))
    return x.flip(-1) if mirrored else x


class TestTimeAugmentation(SamplingEstimator):
    """Spread of the predictions of turned and mirrored images, turned back.

    The first prediction is that of the image itself. Each has fire masks of its own, as in
    :class:`NQM`, so what is seen includes the spread that comes from those; with a ``fire_rate``
    of 1, it is the augmentation's alone.

    Source: Wang et al., Aleatoric uncertainty estimation with test-time augmentation for medical
    image segmentation with convolutional neural networks, Neurocomputing 2019,
    doi:10.1016/j.neucom.2019.01.103.

    Args:
        nca: Trained model, or a cascade.
        normalize: As in :class:`SamplingEstimator`.
        transforms: "flips" along both axes (4 predictions), "rotations" by quarter turns (4), or
            "all" eight symmetries of a square.
        memory: Working memory in bytes, as in :class:`NQM`.
        **options: ``measure``, ``keep_predictions`` and ``progress`` of
            :class:`SamplingEstimator`.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.

    >>> import torch
    >>> from ncalab.core import AbstractNCAModel
    >>> class Plain(AbstractNCAModel):
    ...     def loss(self, pred, label): ...
    >>> nca = Plain(torch.device("cpu"), 1, 2, 1, inference_timesteps=3)
    >>> heatmap, predictions, score = TestTimeAugmentation(nca)(torch.rand(1, 1, 5, 7))
    >>> heatmap.shape, len(predictions), score.item()
    (torch.Size([1, 1, 5, 7]), 8, 0.0)
    """

    __test__ = False  # its name makes pytest take it for a test

    def __init__(
        self,
        nca: AbstractNCAModel,
        normalize: bool = False,
        *,
        transforms: Transforms = "all",
        memory: int = DEFAULT_MEMORY,
        **options: Any,
    ) -> None:
        super().__init__(nca, normalize, **options)
        if nca.spatial_dims != 2:
            raise ValueError(
                "nca must have a grid of two axes to turn images, "
                f"got spatial_dims = {nca.spatial_dims}; NQM takes any grid"
            )
        check_choice("transforms", transforms, get_args(Transforms))
        self.transforms: Transforms = transforms
        self.memory = check_int("memory", memory, minimum=1)

    def _visit_predictions(self, run: Run, visit: Visit) -> None:
        symmetries = _SYMMETRIES[self.transforms]
        passes = run_passes(self.nca, self._starts(run, symmetries), run.seed, self.memory)
        with self._bar(len(symmetries), "pass") as bar:
            for symmetry, prediction in zip(symmetries, passes, strict=True):
                visit(_turn_back(prediction, symmetry))
                bar.update()

    def _starts(self, run: Run, symmetries: list[Symmetry]) -> Iterator[Start]:
        check_batch("image", run.image)
        for n, symmetry in enumerate(symmetries):
            image = transform(run.image, symmetry)
            yield start_pass(self.nca, image, n, run.steps, run.seed, run.samples, run.goal)


def _turn_back(prediction: Prediction, symmetry: Symmetry) -> Prediction:
    """Return a prediction as it lies in the image; one for whole images stays as it is."""

    def back(x: Tensor) -> Tensor:
        return undo(x, symmetry) if x.ndim == 4 else x

    p = prediction
    head = None if p.head_prediction is None else back(p.head_prediction)
    return type(p)(p.model, p.steps, back(p.output_image), back(p.logits), head)
