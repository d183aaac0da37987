"""Weights of the monolith in the models of the tasks."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ncalab.core.monolith import load_monolith_weights
from ncalab.tasks import CascadeNCA, ClassificationNCAModel, SegmentationNCAModel

CPU = torch.device("cpu")


def segmenter() -> SegmentationNCAModel:
    return SegmentationNCAModel(CPU, num_hidden_channels=4, hidden_size=8, num_learned_filters=0)


def classifier(head_hidden_size: int) -> ClassificationNCAModel:
    return ClassificationNCAModel(
        CPU, 1, 6, num_classes=3, num_learned_filters=0, head_hidden_size=head_hidden_size
    )


def rule(seed: int) -> dict[str, Tensor]:
    """Weights of the rule of a segmenter, as the monolith names them."""
    generator = torch.Generator().manual_seed(seed)
    state = segmenter().rule.state_dict()
    return {f"rule.{k}": torch.rand(v.shape, generator=generator) for k, v in state.items()}


def assert_rule(model: torch.nn.Module, want: dict[str, Tensor]) -> None:
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in want.items())


def test_a_cascade_gets_one_set_of_weights_at_all_scales(tmp_path: Path) -> None:
    old = {f"wrapped.{name}": value for name, value in rule(1).items()} | rule(2)
    save_file(old, tmp_path / "old.safetensors")
    cascade = CascadeNCA(segmenter(), [4, 2, 1], [3, 3, 3], single_model=False)

    report = load_monolith_weights(cascade, tmp_path / "old.safetensors")

    for model in cascade.models:
        assert_rule(model, rule(1))
    assert set(report.unused) == set(rule(2))
    assert any("scales and steps" in line for line in report.lacks)


def test_a_cascade_gets_the_weights_of_each_scale(tmp_path: Path) -> None:
    old = {f"models.{k}.{name}": value for k in (0, 1) for name, value in rule(k).items()}
    save_file(old, tmp_path / "old.safetensors")
    cascade = CascadeNCA(segmenter(), [2, 1], [3, 3], single_model=False)

    load_monolith_weights(cascade, tmp_path / "old.safetensors")

    for k, model in enumerate(cascade.models):
        assert_rule(model, rule(k))


def test_scales_with_other_weights_do_not_fit_a_single_model(tmp_path: Path) -> None:
    old = {f"models.{k}.{name}": value for k in (0, 1) for name, value in rule(k).items()}
    save_file(old, tmp_path / "old.safetensors")
    cascade = CascadeNCA(segmenter(), [2, 1], [3, 3])

    with pytest.raises(ValueError, match="single_model=False, got 1 set"):
        load_monolith_weights(cascade, tmp_path / "old.safetensors")


def test_a_classifier_gets_its_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = classifier(64).state_dict()
    del tensors["head.classifier.4.bias"]
    torch.save(tensors, tmp_path / "old.pth")
    model = classifier(64)

    load_monolith_weights(model, tmp_path / "old.pth")

    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in tensors.items())
    assert state["head.classifier.4.bias"].abs().max() == 0
    with pytest.raises(ValueError, match=r"head\.classifier\.2\.\w+ must have shape"):
        load_monolith_weights(classifier(32), tmp_path / "old.pth")
