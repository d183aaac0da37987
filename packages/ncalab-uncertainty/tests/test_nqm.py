from typing import Any

import pytest
import torch
from torch import Tensor
from uncertainty_models import KINDS, ValueModel, images, make, values_of

from ncalab.core import Prediction
from ncalab.uncertainty import NQM, mutual_information, nqm_score, predictive_entropy

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-6}


def loop(model: ValueModel, x: Tensor, n: int, seed: int) -> list[Prediction]:
    """Predict one image at a time, one pass at a time; return the passes."""
    found = []
    for k in range(n):
        one = [
            model.predict(x[i : i + 1], seed=seed, samples=[i + k * 2**32]) for i in range(len(x))
        ]
        state = torch.cat([p.output_image for p in one])
        found.append(Prediction(model, one[0].steps, state, torch.cat([p.logits for p in one])))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_agrees_with_a_loop_over_single_predictions(kind: str) -> None:
    model = make(kind)
    x = images(model, batch=3)

    heatmap, predictions, score = NQM(model, N=4).estimate(x, seed=11)

    singles = loop(model, x, 4, seed=11)
    deviation = values_of(model, singles).std(dim=0, correction=0)
    torch.testing.assert_close(heatmap, deviation, **CLOSE)
    torch.testing.assert_close(score, deviation.mean(dim=(2, 3)), **CLOSE)
    for one, single in zip(predictions, singles, strict=True):
        torch.testing.assert_close(one.output_image, single.output_image, **CLOSE)
        torch.testing.assert_close(one.logits, single.logits, **CLOSE)
        assert one.steps == 6
    assert heatmap.min() >= 0 and heatmap.max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_shapes_are_those_of_the_task(kind: str) -> None:
    model = make(kind)
    channels = {"values": 1, "no output": 4, "head": 3, "mask": 1, "classes": 4}[kind]
    grid = (1, 1) if kind == "head" else (7, 5)

    heatmap, _, score = NQM(model, N=2)(images(model, batch=1))

    assert heatmap.shape == (1, channels, *grid)
    assert score.shape == (1, channels)


def test_the_first_pass_is_the_plain_prediction() -> None:
    model = make("mask", pad_noise=True)
    x = images(model)

    _, predictions, _ = NQM(model, N=2)(x, steps=(2, 9), seed=5)

    want = model.predict(x, (2, 9), seed=5)
    torch.testing.assert_close(predictions[0].output_image, want.output_image, **CLOSE)
    assert predictions[0].steps == want.steps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [False, True])
def test_one_pass_has_no_deviation(kind: str, normalize: bool) -> None:
    model = make(kind)

    heatmap, _, score = NQM(model, 1, normalize)(images(model))

    assert torch.equal(heatmap, torch.zeros_like(heatmap))
    assert torch.equal(score, torch.zeros_like(score))


def test_an_empty_foreground_is_sure() -> None:
    model = make("values", num_image_channels=1)
    x = torch.zeros(1, 1, 7, 5)
    torch.nn.init.zeros_(model.rule.get_parameter("network.2.weight"))

    heatmap, _, score = NQM(model, N=3, normalize=True)(x, "sum")

    assert torch.equal(heatmap, torch.zeros(1, 1, 7, 5))
    assert score.item() == 0


def test_where_all_cells_fire_nothing_spreads() -> None:
    model = make("mask", fire_rate=1.0)

    heatmap, _, _ = NQM(model, N=3)(images(model))

    assert heatmap.max() < 1e-6


def test_padding_noise_spreads_although_all_cells_fire() -> None:
    model = make("mask", fire_rate=1.0, pad_noise=True)

    heatmap, _, _ = NQM(model, N=3)(images(model))

    assert heatmap.mean() > 1e-3


def test_the_normalized_sum_is_the_score_of_the_paper() -> None:
    model = make("classes")
    x = images(model)

    score = NQM(model, N=5, normalize=True)(x, "sum", seed=2)[2]

    spread = NQM(model, N=5).spread(x, seed=2)
    torch.testing.assert_close(score, nqm_score(spread.deviation, spread.mean))
    torch.testing.assert_close(score, spread.nqm)


def test_a_seed_makes_it_repeatable() -> None:
    model = make("mask")
    x, estimator = images(model), NQM(model, N=3)

    one, same, other = (estimator(x, seed=seed)[0] for seed in (1, 1, 2))
    torch.manual_seed(8)
    drawn = estimator(x)[0]
    torch.manual_seed(8)

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(estimator(x)[0], drawn)


def test_an_image_is_as_uncertain_alone_as_in_a_batch() -> None:
    model = make("mask")
    x, estimator = images(model, batch=3), NQM(model, N=3)

    alone = estimator(x[2:], seed=1, samples=[2])[0]

    torch.testing.assert_close(alone, estimator(x, seed=1)[0][2:], **CLOSE)


def test_more_passes_keep_those_of_fewer() -> None:
    model = make("values")
    x = images(model)

    few, more = (NQM(model, N=n)(x, seed=1)[1] for n in (2, 5))

    for one, other in zip(few, more, strict=False):
        torch.testing.assert_close(one.output_image, other.output_image, **CLOSE)


def test_only_the_final_prediction_stays_if_none_are_kept() -> None:
    model = make("classes")
    x = images(model)

    heatmap, predictions, _ = NQM(model, N=4)(x, seed=1)
    streamed, last, _ = NQM(model, N=4, keep_predictions=False)(x, seed=1)

    assert len(last) == 1
    torch.testing.assert_close(last[0].output_image, predictions[-1].output_image, **CLOSE)
    assert torch.equal(streamed, heatmap)


@pytest.mark.parametrize("kind", ["mask", "classes"])
def test_entropies_are_those_of_the_probabilities(kind: str) -> None:
    model = make(kind)
    x = images(model)
    p = values_of(model, NQM(model, N=4)(x, seed=1)[1])

    entropy = NQM(model, N=4, measure="entropy")(x, seed=1)
    information = NQM(model, N=4, measure="mutual_information")(x, seed=1)

    torch.testing.assert_close(entropy[0], predictive_entropy(p.mean(dim=0)), **CLOSE)
    torch.testing.assert_close(information[0], mutual_information(p), **CLOSE)
    assert entropy[2].shape == information[2].shape == (2, 1)
    assert information[0].max() > 1e-4


@pytest.mark.parametrize("measure", ["entropy", "mutual_information"])
def test_a_constant_added_to_the_logits_changes_no_entropy_of_a_model(measure: Any) -> None:
    plain, shifted = make("classes"), make("classes", offset=5.0)
    x = images(plain)

    one, other = (NQM(m, N=3, measure=measure)(x, seed=1)[0] for m in (plain, shifted))

    torch.testing.assert_close(one, other, **CLOSE)


def test_entropy_needs_classes() -> None:
    with pytest.raises(ValueError, match="measure must be 'deviation' for a model without classes"):
        NQM(make("values"), measure="entropy")
    with pytest.raises(ValueError, match="normalize must be False for measure='entropy'"):
        NQM(make("mask"), 3, True, measure="entropy")
    with pytest.raises(ValueError, match="measure must be one of deviation, entropy"):
        NQM(make("mask"), measure="variance")


@pytest.mark.parametrize("n", [0, -1])
def test_too_few_passes_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"N must be at least 1, got {n}"):
        NQM(make("values"), n)


def test_a_model_without_cells_that_are_square_or_many_works() -> None:
    model = make("mask")

    heatmap, _, score = NQM(model, N=2)(torch.rand(1, 2, 2, 3))

    assert heatmap.shape == (1, 1, 2, 3)
    assert score.isfinite().all()


def test_states_are_gone_on_from() -> None:
    model = make("values")
    state = torch.rand(2, model.num_channels, 7, 5)

    _, predictions, _ = NQM(model, N=1)(state, seed=3)

    torch.testing.assert_close(
        predictions[0].output_image, model.predict(state, seed=3).output_image, **CLOSE
    )


def test_double_precision_stays() -> None:
    model = make("mask").double()

    heatmap, _, _ = NQM(model, N=2)(images(model))

    assert heatmap.dtype == torch.float64


def test_a_progress_bar_counts_the_passes(capsys: pytest.CaptureFixture[str]) -> None:
    model = make("mask")

    NQM(model, N=3, progress=True)(images(model))
    shown = capsys.readouterr().err
    NQM(model, N=3)(images(model))

    assert "NQM: 100%" in shown and "3/3" in shown
    assert capsys.readouterr().err == ""


def test_a_flag_that_is_no_bool_is_named() -> None:
    with pytest.raises(TypeError, match="normalize must be True or False, got 'no'"):
        NQM(make("mask"), 3, "no")  # type: ignore[arg-type]  # the fault under test
