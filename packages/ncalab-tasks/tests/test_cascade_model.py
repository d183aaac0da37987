"""Rollouts of a cascade; test_cascade_delegation.py tests the rest of it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cascade_models import CPU, KINDS, ProbeModel, cascade_of, images, make
from torch import Tensor

from ncalab.core import AbstractNCAModel, AutoStepper, pad_input
from ncalab.core.rollout import OnStep, rollout, tiled_rollout
from ncalab.tasks import CascadeNCA, GrowingNCAModel

SIZES = [(16, 16), (30, 30), (31, 17), (3, 2), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scales", [[4, 2, 1], [8, 4, 2], [1, 3, 2]])
def test_a_prediction_has_the_size_of_its_image(
    kind: str, size: tuple[int, int], scales: list[int]
) -> None:
    prediction = cascade_of(kind, scales=scales).predict(images(*size))

    logits = {"scores": (2, 2, *size), "head": (2, 1), "growing": (2, 2, *size)}
    assert prediction.output_image.shape[2:] == size
    assert prediction.logits.shape == logits[kind]
    assert torch.isfinite(prediction.logits).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", [{}, {"pad_noise": True, "use_temporal_encoding": True}])
def test_a_cascade_of_one_scale_is_the_model_itself(kind: str, arguments: dict[str, Any]) -> None:
    model = make(kind, **arguments)
    cascade = cascade_of(model, scales=[1], steps=[7])

    for steps in (7, 4):
        want = model.predict(images(9, 6), steps, seed=5)
        got = cascade.predict(images(9, 6), steps, seed=5)
        assert torch.equal(got.output_image, want.output_image)
        assert torch.equal(got.logits, want.logits)


def by_hand(models: list[AbstractNCAModel], x: Tensor, plan: list[int], seed: int) -> Tensor:
    """Run scales 4, 2, 1 of models with two fixed channels; sides must be multiples of 4."""
    cells, start = x[:, 2:, 2::4, 2::4], 0
    for model, scale, steps in zip(models, [4, 2, 1], plan, strict=True):
        if start:
            cells = F.interpolate(cells, scale_factor=2, mode="bilinear")
        small = F.avg_pool2d(x[:, :2], scale)
        state = rollout(model, torch.cat([small, cells], 1), steps, start=start, seed=seed)
        cells, start = state[:, 2:], start + steps
    return torch.cat([x[:, :2], cells], dim=1)


@pytest.mark.parametrize("separate", [False, True])
def test_scales_are_run_one_after_the_other(separate: bool) -> None:
    cascade = cascade_of("scores", separate=separate)
    x = torch.rand(2, cascade.num_channels, 16, 8, generator=torch.Generator().manual_seed(4))

    got = cascade(x, [4, 3, 2], seed=9).output_image

    torch.testing.assert_close(got, by_hand(cascade.models, x, [4, 3, 2], 9), atol=1e-6, rtol=0)


def probe(steps: list[int], **arguments: Any) -> tuple[CascadeNCA, ProbeModel]:
    model = ProbeModel(CPU, **arguments)
    return CascadeNCA(model, [4, 2, 1][: len(steps)], steps), model


def test_predictions_take_exactly_the_given_steps_at_each_scale() -> None:
    cascade, model = probe([4, 3, 2])

    for _ in range(5):
        model.seen.clear()
        assert cascade.predict(images(16, 8)).steps == 9
        assert [(step, *x.shape[2:]) for step, x in model.seen] == [
            *((step, 4, 2) for step in range(4)),
            *((step, 8, 4) for step in range(4, 7)),
            *((step, 16, 8) for step in range(7, 9)),
        ]


@pytest.mark.parametrize(
    ("steps", "counts"),
    [
        (None, [4, 3, 2]),
        (18, [8, 6, 4]),
        (3, [1, 1, 1]),
        ([1, 5, 2], [1, 5, 2]),
        ((18, 19), [8, 6, 4]),
    ],
)
def test_steps_that_are_asked_for_are_taken(steps: Any, counts: list[int]) -> None:
    cascade, model = probe([4, 3, 2])
    cascade.eval()
    sides = [4, 8, 16]

    for run in (cascade.predict, cascade.record, cascade.forward):
        model.seen.clear()
        run(pad_input(images(16, 8), cascade), steps)
        widths = [x.shape[2] for _, x in model.seen]
        assert [widths.count(side) for side in sides] == counts


def test_only_a_training_rollout_varies_its_steps_and_the_seed_decides() -> None:
    cascade, _ = probe([20, 20, 10])
    x = torch.zeros(1, cascade.num_channels, 4, 4)

    counts = {cascade.train()(x, seed=seed).steps for seed in range(40)}

    assert min(counts) >= 40 and max(counts) <= 60 and len(counts) > 10
    assert cascade(x, seed=7).steps == cascade(x, seed=7).steps
    assert cascade(x, 50).steps == 50
    assert {cascade.eval()(x).steps for _ in range(10)} == {50}
    assert cascade.train().predict(x).steps == 50


def test_the_trainers_range_is_the_sum_of_steps_give_or_take_a_fifth() -> None:
    assert cascade_of(steps=[20, 20, 10]).training_timesteps == (40, 61)
    assert cascade_of(steps=[1, 1, 1]).training_timesteps == (3, 5)
    assert cascade_of(steps=[20, 20, 10]).inference_timesteps == 50


def test_given_timesteps_are_in_force() -> None:
    cascade = cascade_of(training_timesteps=9, inference_timesteps=18)
    x = torch.zeros(1, cascade.num_channels, 4, 4)

    assert cascade.train()(x).steps == 9
    assert cascade.predict(x).steps == 18
    cascade.inference_timesteps = 27
    assert cascade.predict(x).steps == 27
    cascade.inference_timesteps = None
    cascade.steps = [1, 1, 2]
    assert cascade.predict(x).steps == 4


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_record_ends_with_what_predict_returns(kind: str, separate: bool) -> None:
    model = make(kind, pad_noise=True, use_temporal_encoding=True)
    cascade = cascade_of(model, separate=separate)

    record = cascade.record(images(13, 6), seed=6)
    prediction = cascade.predict(images(13, 6), seed=6)

    assert torch.equal(record[-1].output_image, prediction.output_image)
    assert torch.equal(record[-1].logits, prediction.logits)
    assert [p.steps for p in record] == list(range(1, 10))
    assert {p.output_image.shape for p in record} == {prediction.output_image.shape}


def ending_at(count: int) -> OnStep:
    return lambda step, _: step == count


def test_every_record_is_what_a_prediction_would_be_that_ended_there() -> None:
    cascade = cascade_of(make("scores", use_temporal_encoding=True))

    record = cascade.record(images(13, 6), seed=6)

    for count in (2, 4, 5, 8):
        ended = cascade.predict(images(13, 6), seed=6, on_step=ending_at(count))
        assert ended.steps == count
        assert torch.equal(record[count - 1].output_image, ended.output_image)


def test_record_and_predict_draw_alike_from_the_default_generator() -> None:
    cascade = cascade_of(make("scores", pad_noise=True), inference_timesteps=(5, 15))

    torch.manual_seed(0)
    record = cascade.record(images(8, 8))
    torch.manual_seed(0)
    prediction = cascade.predict(images(8, 8))

    assert torch.equal(record[-1].output_image, prediction.output_image)


def test_the_image_is_prepared_once_and_not_at_every_scale() -> None:
    cascade, model = probe([2, 2, 2])

    cascade.predict(images(16, 8))
    assert model.prepared == 1
    cascade.record(images(16, 8))
    assert model.prepared == 2


def test_each_scale_sees_the_mean_of_the_pixels_of_a_cell() -> None:
    cascade, model = probe([1, 1, 1])
    board = ((torch.arange(16)[:, None] + torch.arange(8)) % 2).float().expand(1, 2, 16, 8)

    cascade.predict(board)

    coarse, middle, fine = (x[:, :2] for _, x in model.seen)
    assert torch.equal(coarse, torch.full((1, 2, 4, 2), 0.5))
    assert torch.equal(middle, torch.full((1, 2, 8, 4), 0.5))
    assert torch.equal(fine, board)


@pytest.mark.parametrize("scales", [[4, 2, 1], [8, 4, 2], [1, 3, 2]])
def test_fixed_image_channels_are_the_image_after_every_step(scales: list[int]) -> None:
    image = images(13, 6)

    for prediction in cascade_of("scores", scales=scales).record(image):
        assert torch.equal(prediction.image_channels, image)


def test_channels_that_the_model_draws_into_are_kept_from_scale_to_scale() -> None:
    cascade, model = probe([2, 2, 2], immutable_image_channels=False)

    prediction = cascade.predict(torch.zeros(1, 2, 16, 8))

    assert [x.unique().tolist() for _, x in model.seen] == [[float(n)] for n in range(6)]
    assert prediction.output_image.unique().tolist() == [6.0]


def test_noise_is_padded_once_and_as_strong_as_without_a_cascade() -> None:
    cascade, model = probe([2, 2, 2], pad_noise=True)

    cascade.predict(images(64, 64, batch=8))

    start = model.seen[0][1][:, 2:]
    assert abs(start.mean().item() - 0.5) < 0.01
    assert abs(start.std().item() - 0.225) < 0.01
    # From then on, this model adds one at every step, and nothing else is added.
    after = model.seen[2][1][:, 2:].mean() - 2
    torch.testing.assert_close(after, start.mean(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("place", [(24, 20), (9, 31)])
def test_a_growing_seed_is_alive_at_the_first_scale(place: tuple[int, int]) -> None:
    model = GrowingNCAModel(CPU, num_hidden_channels=4, use_alive_mask=True)
    cascade = CascadeNCA(model, [4, 2, 1], [1, 1, 1])
    seed = torch.zeros(1, 8, 48, 40)
    seed[0, 3:, place[0], place[1]] = 1

    first = cascade.record(seed)[0]

    assert first.image_channels[:, 3].max() > 0.5


def test_a_sample_alone_is_what_it_is_in_a_batch() -> None:
    cascade = cascade_of("scores")
    batch = images(13, 6, batch=3)

    together = cascade.predict(batch, seed=11).output_image
    alone = cascade.predict(batch[2:], seed=11, samples=[2]).output_image

    torch.testing.assert_close(alone, together[2:], atol=1e-6, rtol=0)
    other = cascade.predict(batch[2:], seed=11, samples=[0]).output_image
    assert not torch.allclose(other, together[2:], atol=1e-3)


def test_no_two_scales_fire_the_same_cells() -> None:
    # One cell at every scale: whether it fires is all that happens.
    cascade, model = probe([40, 40], fire_rate=0.5)

    cascade.predict(torch.zeros(1, 2, 1, 1), seed=3)

    counts = torch.tensor([x[0, 2, 0, 0].item() for _, x in model.seen])
    fired = counts.diff()
    assert 10 < fired.sum() < 70
    assert not torch.equal(fired[:39], fired[40:79])


def test_one_seed_is_drawn_for_all_scales() -> None:
    cascade = cascade_of("scores")

    torch.manual_seed(0)
    cascade.predict(images(8, 8))
    after = torch.randint(2**62, ()).item()

    torch.manual_seed(0)
    cascade.wrapped.predict(images(8, 8), 1)
    assert torch.randint(2**62, ()).item() == after


def test_an_input_is_never_changed() -> None:
    for scales in ([4, 2, 1], [1, 2, 4]):
        cascade = cascade_of("growing", scales=scales)
        image, state = images(8, 8), torch.rand(2, cascade.num_channels, 8, 8)
        copies = image.clone(), state.clone()

        cascade.predict(image)
        cascade(state)

        assert torch.equal(image, copies[0]) and torch.equal(state, copies[1])


def test_scales_run_on_the_fast_engine_and_agree_with_the_reference() -> None:
    cascade = cascade_of("scores", separate=True)
    x = torch.rand(2, cascade.num_channels, 13, 6)
    gradients: dict[str, list[Tensor]] = {}
    states = {}

    for engine in ("fused", "reference"):
        cascade.zero_grad()
        prediction = cascade(x, seed=1, engine=engine)
        prediction.logits.square().mean().backward()
        states[engine] = prediction.output_image
        gradients[engine] = [p.grad.clone() for p in cascade.parameters() if p.grad is not None]

    torch.testing.assert_close(states["fused"], states["reference"], atol=1e-5, rtol=0)
    for fused, reference in zip(gradients["fused"], gradients["reference"], strict=True):
        torch.testing.assert_close(fused, reference, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("checkpoint", [2, "auto"])
def test_checkpointed_scales_have_the_same_gradients(checkpoint: Any) -> None:
    cascade = cascade_of("scores")
    x = torch.rand(1, cascade.num_channels, 8, 8)
    weight = cascade.rule.get_parameter("network.2.weight")
    losses = [
        cascade(x, seed=1, checkpoint=keep).logits.square().mean() for keep in (None, checkpoint)
    ]

    first, second = (torch.autograd.grad(loss, weight)[0] for loss in losses)

    torch.testing.assert_close(first, second, atol=1e-7, rtol=1e-5)


def test_rollout_of_a_cascade_runs_its_scales() -> None:
    cascade = cascade_of("scores")
    x = torch.rand(1, cascade.num_channels, 8, 8)

    assert torch.equal(rollout(cascade, x, 9, seed=1), cascade(x, 9, seed=1).output_image)
    with pytest.raises(ValueError, match="start must be 0 for a cascade, got 3"):
        rollout(cascade, x, 9, start=3)


@pytest.mark.parametrize("separate", [False, True])
def test_a_cascade_goes_on_at_its_last_scale(separate: bool) -> None:
    cascade = cascade_of("scores", separate=separate)
    x = torch.rand(2, cascade.num_channels, 7, 5)

    state = cascade.continue_rollout(x, 3, start=9, seed=1, samples=[4, 6])

    want = rollout(cascade.models[-1], x, 3, start=9, seed=1, samples=[4, 6])
    assert torch.equal(state, want)


def test_a_cascade_that_ends_coarse_goes_on_coarse() -> None:
    cascade = cascade_of("scores", scales=[4, 1, 2])
    x = torch.rand(1, cascade.num_channels, 8, 6)

    state = cascade.continue_rollout(x, 2, start=9, seed=1, samples=[0])

    fixed = cascade.num_image_channels
    image = torch.nn.functional.interpolate(x[:, :fixed], size=(4, 3), mode="area")
    small = torch.cat([image, x[:, fixed:, 1::2, 1::2]], dim=1)
    small = rollout(cascade.models[-1], small, 2, start=9, seed=1, samples=[0])
    cells = torch.nn.functional.interpolate(small[:, fixed:], size=(8, 6), mode="bilinear")
    torch.testing.assert_close(state, torch.cat([x[:, :fixed], cells], 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("tile", [3, "auto"])
@pytest.mark.parametrize("scales", [[4, 2, 1], [1, 2, 4]])
def test_a_tiled_prediction_is_the_same(tile: Any, scales: list[int]) -> None:
    cascade = cascade_of("scores", scales=scales)
    state = torch.rand(2, cascade.num_channels, 40, 9)
    before = state.clone()

    tiled = cascade.predict(state, seed=4, tile=tile)

    want = cascade.predict(state, seed=4)
    torch.testing.assert_close(tiled.output_image, want.output_image, atol=1e-5, rtol=0)
    assert torch.equal(state, before)


def test_what_takes_single_steps_is_refused() -> None:
    cascade = cascade_of("scores")
    x = torch.rand(1, cascade.num_channels, 8, 8)

    with pytest.raises(TypeError, match="a cascade takes its steps at several scales"):
        tiled_rollout(cascade, x, 3, reach=1)
    with pytest.raises(ValueError, match="on_step must be None for a tiled prediction"):
        cascade.predict(x, tile=3, on_step=ending_at(1))


def test_an_auto_stepper_ends_only_the_last_scale() -> None:
    cascade = cascade_of(make("scores", awake=False))
    image = images(8, 8)
    stepper = AutoStepper(min_steps=1, max_steps=90, plateau=3)

    prediction = stepper.run(cascade, image, seed=2)

    # Nothing ever moves; 40 and 30 steps belong to the coarse scales.
    assert prediction.steps == 73
    assert torch.equal(prediction.output_image, cascade.record(image, 90, seed=2)[72].output_image)


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        (2, ValueError, "steps must be at least 3, one for each scale of the cascade, got 2"),
        ([4, 3], ValueError, r"one number for each of the scales \[4, 2, 1\], got \[4, 3\]"),
        ([4, 3, 0], ValueError, r"steps\[2\] must be at least 1, got 0"),
        (2.5, TypeError, "steps must be an integer, got 2.5"),
        ((9, 9), ValueError, r"min < max, got \(9, 9\)"),
    ],
)
def test_steps_that_cannot_be_taken_are_named(
    steps: Any, error: type[Exception], message: str
) -> None:
    cascade = cascade_of("scores")

    for run in (cascade.predict, cascade.record):
        with pytest.raises(error, match=message):
            run(images(8, 8), steps)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scales": []}, ValueError, "scales must hold at least one number"),
        ({"scales": [4, 2]}, ValueError, r"for each of the scales \[4, 2\], got \[4, 3, 2\]"),
        ({"scales": [4, 0, 1]}, ValueError, r"scales\[1\] must be at least 1, got 0"),
        ({"scales": [4, 2.0, 1]}, TypeError, r"scales\[1\] must be an integer, got 2.0"),
        ({"scales": 4}, TypeError, "scales must be a list of integers, got 4"),
        ({"single_model": "no"}, TypeError, "single_model must be True or False, got 'no'"),
        ({"steps": [4, 3, -1]}, ValueError, r"steps\[2\] must be at least 1, got -1"),
        ({"training_timesteps": 2}, ValueError, "training_timesteps must be at least 3, got 2"),
        ({"inference_timesteps": (9, 3)}, ValueError, r"inference_timesteps must be a pair"),
        ({"wrapped": torch.nn.Identity()}, TypeError, "wrapped must be .*, got Identity"),
        ({"wrapped": cascade_of("scores")}, TypeError, "wrapped must be .*, got CascadeNCA"),
    ],
)
def test_bad_arguments_are_named(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"wrapped": make("scores"), "scales": [4, 2, 1], "steps": [4, 3, 2]}

    with pytest.raises(error, match=message):
        CascadeNCA(**{**arguments, **change})


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.rand(2, 8, 8), ValueError, r"must have shape \(B, C, W, H\)"),
        (torch.rand(1, 3, 8, 8), ValueError, "must have 2 channels .* or 7 .* got 3"),
        (torch.ones(1, 2, 8, 8).int(), TypeError, "must be floating point, got torch.int32"),
    ],
)
def test_bad_images_are_named(image: Tensor, error: type[Exception], message: str) -> None:
    cascade = cascade_of("scores").train()

    with pytest.raises(error, match=message):
        cascade.predict(image)
    assert cascade.training
    with pytest.raises((ValueError, TypeError), match="x must"):
        cascade(image)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_go_through_all_scales(kind: str) -> None:
    cascade = cascade_of(kind, scales=[2, 1], steps=[2, 2]).double()
    x = torch.rand(1, cascade.num_channels, 3, 2, dtype=torch.float64)

    def curvature(engine: Any) -> Any:
        def score(x: Tensor) -> Any:
            return cascade(x, seed=1, engine=engine).logits.sigmoid().sum()

        return torch.autograd.functional.hessian(score, x)

    want = curvature("reference")

    assert want.abs().sum() > 1e-6
    torch.testing.assert_close(curvature("auto"), want, atol=1e-12, rtol=1e-9)
