"""Weights of the monolithic ncalab in the models of the tasks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_model
from torch import Tensor, nn

from ncalab.core import AbstractNCAModel
from ncalab.core.monolith import load_monolith_weights, read_monolith
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    SegmentationNCAModel,
    SegmentationPrediction,
)

State = dict[str, Tensor]
CPU = torch.device("cpu")


def segmenter() -> SegmentationNCAModel:
    return SegmentationNCAModel(
        CPU, 1, 3, hidden_size=4, num_learned_filters=0, filter_padding="zero", fire_rate=1.0
    )


def random_state(model: AbstractNCAModel, seed: int = 0) -> State:
    """Random weights of a plain model; their names are those of the monolith as well."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) / 4
        for name, value in model.state_dict().items()
    }


def saved(state: State, folder: Path) -> Path:
    torch.save(state, folder / "old.pth")
    return folder / "old.pth"


def named(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def of_model(model: AbstractNCAModel, prefix: str) -> State:
    return {
        name.removeprefix(prefix): value
        for name, value in model.state_dict().items()
        if name.startswith(prefix)
    }


def assert_equal(got: State, want: State) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert torch.equal(got[name], value), name


def test_a_mask_is_that_of_the_sigmoid_that_the_monolith_kept_in_the_state(tmp_path: Path) -> None:
    model = segmenter()
    report = load_monolith_weights(model, saved(random_state(model), tmp_path))

    prediction = model.predict(torch.randn(2, 5, 6, 5), steps=1, seed=0)

    assert isinstance(prediction, SegmentationPrediction)
    assert torch.equal(prediction.mask, (prediction.logits.sigmoid() > 0.5).long()[:, 0])
    assert prediction.mask.float().mean().item() not in (0.0, 1.0)
    assert "they are logits now" in str(report)


def classifier(**settings: Any) -> ClassificationNCAModel:
    return ClassificationNCAModel(
        CPU,
        1,
        3,
        num_classes=4,
        hidden_size=4,
        num_learned_filters=0,
        filter_padding="zero",
        avg_pool_size=2,
        **settings,
    )


def test_a_head_is_loaded_along_with_the_rule(tmp_path: Path) -> None:
    model = classifier()
    state = random_state(model)

    load_monolith_weights(model, saved(state, tmp_path))

    assert_equal(dict(model.state_dict()), state)


def test_a_head_without_a_last_bias_gets_zeros_and_the_report_says_so(tmp_path: Path) -> None:
    model = classifier(head_hidden_size=64)
    state = random_state(model)
    bias = state.pop("head.classifier.4.bias")

    report = load_monolith_weights(model, saved(state, tmp_path))

    assert_equal(dict(model.state_dict()), {**state, "head.classifier.4.bias": bias * 0})
    assert "head.classifier.4.bias: 0" in str(report)


def test_a_file_says_what_its_head_was(tmp_path: Path) -> None:
    file = saved(random_state(classifier(head_hidden_size=64)), tmp_path)

    assert "head: num_classes=4, head_hidden_size=64" in str(read_monolith(file))


def test_a_head_that_the_model_lacks_is_an_error(tmp_path: Path) -> None:
    file = saved(random_state(classifier()), tmp_path)
    pooled = ClassificationNCAModel(
        CPU,
        1,
        3,
        num_classes=4,
        hidden_size=4,
        num_learned_filters=0,
        filter_padding="zero",
        use_classifier=False,
    )

    with pytest.raises(ValueError, match=r"has extra \['head\.classifier\.2\.bias'"):
        load_monolith_weights(pooled, file)


def test_the_rule_of_a_cascade_is_not_that_of_its_models(tmp_path: Path) -> None:
    cascade = CascadeNCA(segmenter(), [2, 1], [3, 3])
    wrapped, own = random_state(segmenter(), 1), random_state(segmenter(), 2)
    file = saved({**own, **named("wrapped.", wrapped)}, tmp_path)
    with pytest.raises(ValueError, match="cascade: a cascade picked single pixels"):
        load_monolith_weights(cascade, file)

    report = load_monolith_weights(cascade, file, accept=["cascade"])

    assert_equal(dict(cascade.wrapped.state_dict()), wrapped)
    assert "rule.network.0.weight: the rule of the cascade itself" in str(report)


def test_every_scale_of_a_cascade_gets_the_weights_of_its_own(tmp_path: Path) -> None:
    cascade = CascadeNCA(segmenter(), [2, 1], [3, 3], single_model=False)
    coarse, fine = random_state(segmenter(), 1), random_state(segmenter(), 2)
    state = {
        **named("wrapped.", fine),
        **named("models.0.", coarse),
        **named("models.1.", fine),
    }

    load_monolith_weights(cascade, saved(state, tmp_path), accept=["cascade"])

    assert_equal(of_model(cascade, "copies.0."), coarse)
    assert_equal(of_model(cascade, "wrapped."), fine)


def test_one_set_of_weights_serves_all_scales(tmp_path: Path) -> None:
    cascade = CascadeNCA(classifier(), [2, 1], [3, 3], single_model=False)
    state = random_state(classifier())

    load_monolith_weights(cascade, saved(state, tmp_path))

    rule = {name: value for name, value in state.items() if name.startswith("rule.")}
    assert_equal(of_model(cascade, "copies.0."), rule)
    assert_equal(of_model(cascade, "wrapped."), state)


def test_tensors_that_a_safetensors_file_stores_once_are_found(tmp_path: Path) -> None:
    class OldCascade(nn.Module):
        """Registers the head of the wrapped model as its own, as the monolith did."""

        def __init__(self, wrapped: ClassificationNCAModel) -> None:
            super().__init__()
            self.rule = classifier().rule
            self.head = wrapped.head
            self.wrapped = wrapped

    wrapped = classifier()
    wrapped.load_state_dict(random_state(wrapped))
    save_model(OldCascade(wrapped), str(tmp_path / "old.safetensors"))
    cascade = CascadeNCA(classifier(), [2, 1], [3, 3])

    load_monolith_weights(cascade, tmp_path / "old.safetensors", accept=["cascade"])

    assert_equal(dict(cascade.wrapped.state_dict()), dict(wrapped.state_dict()))
