"""Muon for the rule's matrices, Adam for the rest, as one optimiser."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from train_models import EchoModel, equal, loader, make_tiny, weights

from ncalab.core.testing import MeanHead
from ncalab.train import BasicNCATrainer
from ncalab.train.muon import MuonWithAdam, rule_matrices


def with_gradients(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return parameters


def optimizer(matrices: list[nn.Parameter], others: list[nn.Parameter]) -> MuonWithAdam:
    return MuonWithAdam(matrices, others, lr=0.1, adam_lr=0.01, betas=(0.9, 0.99))


def test_matrices_are_those_of_rules_and_none_else() -> None:
    nca = make_tiny(num_learned_filters=2)
    nca.head = MeanHead()

    matrices = rule_matrices(nca)

    assert {id(p) for p in matrices} == {
        id(nca.rule.get_parameter(f"network.{place}.weight")) for place in (0, 2)
    }


def test_a_step_is_that_of_torch_on_the_same_values() -> None:
    convolution, matrix, bias = with_gradients((6, 5, 1, 1), (4, 7), (3,))
    copies = [nn.Parameter(p.detach().clone().flatten(1)) for p in (convolution, matrix)]
    rest = nn.Parameter(bias.detach().clone())
    muon = torch.optim.Muon(copies, lr=0.1, momentum=0.9, weight_decay=0)
    adam = torch.optim.Adam([rest], lr=0.01, betas=(0.9, 0.99))
    ours = optimizer([convolution, matrix], [bias])

    for _ in range(3):
        for copy, own in zip([*copies, rest], [convolution, matrix, bias], strict=True):
            assert own.grad is not None
            copy.grad = own.grad.clone().view_as(copy)
        muon.step()
        adam.step()
        ours.step()

    assert torch.equal(convolution.flatten(1), copies[0])
    assert torch.equal(matrix, copies[1])
    assert torch.equal(bias, rest)


def test_a_step_brings_the_singular_values_of_an_update_near_one() -> None:
    (matrix,) = with_gradients((6, 6))
    before = matrix.detach().clone()
    assert matrix.grad is not None
    matrix.grad[0] *= 100

    MuonWithAdam([matrix], [], lr=1.0, adam_lr=1.0, betas=(0.9, 0.9)).step()

    values = torch.linalg.svdvals(before - matrix.detach())
    assert values.min() > 0.3 and values.max() < 1.3


def test_steps_reach_parameters_whose_storage_was_replaced() -> None:
    (matrix,) = with_gradients((6, 5))
    ours = optimizer([matrix], [])
    matrix.data = matrix.data.clone()
    before = matrix.detach().clone()

    ours.step()

    assert not torch.equal(matrix, before)


def test_a_schedule_scales_both_rates() -> None:
    matrix, bias = with_gradients((6, 5), (3,))
    ours = optimizer([matrix], [bias])
    schedule = CosineAnnealingLR(ours, 2)
    ours.step()
    schedule.step()
    ours.step()

    assert ours._adam is not None
    assert ours._muon.param_groups[0]["lr"] == pytest.approx(0.05)
    assert ours._adam.param_groups[0]["lr"] == pytest.approx(0.005)


def test_a_schedule_may_cycle_the_betas() -> None:
    matrix, bias = with_gradients((6, 5), (3,))
    ours = optimizer([matrix], [bias])
    schedule = OneCycleLR(ours, [0.1, 0.01], total_steps=10)

    for _ in range(4):
        ours.step()
        schedule.step()
    ours.step()

    assert ours._adam is not None
    betas = ours._adam.param_groups[0]["betas"]
    assert betas == ours.param_groups[1]["betas"] != (0.9, 0.99)


def test_the_state_continues_to_the_bit() -> None:
    def trained(parameters: list[nn.Parameter], ours: MuonWithAdam, steps: int) -> None:
        for step in range(steps):
            for parameter in parameters:
                parameter.grad = torch.sin(parameter.detach() * (step + 2))
            ours.step()

    first = with_gradients((6, 5, 1, 1), (3,))
    ours = optimizer(first[:1], first[1:])
    trained(first, ours, 3)
    second = [nn.Parameter(p.detach().clone()) for p in first]
    other = optimizer(second[:1], second[1:])
    other.load_state_dict(deepcopy(ours.state_dict()))
    trained(first, ours, 3)
    trained(second, other, 3)

    assert equal(first, second)


def test_a_closure_is_evaluated_with_gradients() -> None:
    (matrix,) = with_gradients((6, 5))
    ours = optimizer([matrix], [])

    def closure() -> Tensor:
        ours.zero_grad()
        loss = matrix.square().mean()
        loss.backward()
        return loss

    before = matrix.detach().square().mean()
    assert torch.equal(torch.as_tensor(ours.step(closure)), before)  # type: ignore[arg-type]  # a tensor, as torch's own take
    assert matrix.detach().square().mean() < before


def test_it_learns_faster_than_adam_at_the_defaults() -> None:
    losses = []
    for method in ("muon", "adam"):
        torch.manual_seed(0)
        nca = make_tiny()
        run = BasicNCATrainer(nca, None, max_epochs=20, progress=False, optimizer_method=method)
        losses.append(run.train(loader()).loss[-1])

    assert losses[0] < losses[1] / 2


def test_a_rule_without_matrices_to_train_is_refused() -> None:
    nca = make_tiny(num_learned_filters=1)
    nca.rule.requires_grad_(False)

    with pytest.raises(ValueError, match=r"another one than 'muon' for a model whose rule has no"):
        BasicNCATrainer(nca, None, optimizer_method="muon", progress=False).train(loader())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adam_lr": 0.0}, "adam_lr must be above 0"),
        ({"muon_momentum": 1.0}, r"muon_momentum must be in \[0, 1\), got 1.0"),
        ({"muon_iterations": 0}, "muon_iterations must be at least 1, got 0"),
        ({"muon_iterations": 100}, "muon_iterations must be at most 99, got 100"),
    ],
)
def test_bad_options_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BasicNCATrainer(make_tiny(), None, optimizer_method="muon", **arguments)


def test_a_clone_trains_its_own_model() -> None:
    trainer = BasicNCATrainer(
        make_tiny(), None, optimizer_method="muon", adam_lr=0.5, max_epochs=1, progress=False
    )
    other = EchoModel()
    before = weights(other)

    clone = trainer.clone_for(other, None)
    clone.train(loader())

    assert clone.adam_lr == 0.5
    assert not equal(before, weights(other))
