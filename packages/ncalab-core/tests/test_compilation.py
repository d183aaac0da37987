"""A model that torch compiles does what it did; its rollouts stay outside of the graph."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor, nn

from ncalab.core import AbstractNCAHead
from ncalab.core.rollout import rollout

# Of what torch's compiler itself does with torch.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Forget what was compiled."""
    yield
    torch.compiler.reset()


class LinearHead(AbstractNCAHead):
    """A head with something to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(x.mean(dim=(2, 3))).relu()
        return scores

    def freeze(self, freeze_last: bool = True) -> None:
        self.requires_grad_(False)


@pytest.fixture
def model(make_model: MakeModel) -> TinyModel:
    """A model with a head."""
    headed = make_model(use_temporal_encoding=True)
    headed.head = LinearHead()
    return headed


def compiled(function: Any) -> Any:
    return torch.compile(function, backend="eager")


X = torch.rand(2, 9, 6, 5, generator=torch.Generator().manual_seed(2))
USES: dict[str, Callable[[Any], Any]] = {
    "forward": lambda m: m(X, 3, seed=1),
    "reference": lambda m: m(X, 3, seed=1, engine="reference"),
    "checkpoint": lambda m: m(X, 3, seed=1, checkpoint=2),
    "predict": lambda m: m.predict(X, 3, seed=1),
    "tiled": lambda m: m.predict(X, 3, seed=1, tile=4),
}


@pytest.mark.parametrize("use", USES)
def test_a_compiled_model_gives_the_same(model: TinyModel, use: str) -> None:
    want = USES[use](model)

    got = USES[use](compiled(model))

    assert torch.equal(got.output_image, want.output_image)
    torch.testing.assert_close(got.logits, want.logits)
    assert got.steps == 3


def test_a_model_compiled_in_place_draws_and_predicts_the_same(model: TinyModel) -> None:
    torch.manual_seed(5)
    want = model(X, 4)
    model.compile(backend="eager")

    torch.manual_seed(5)
    got = model(X, 4)

    assert torch.equal(got.output_image, want.output_image)


@pytest.mark.parametrize("method", ["predict", "record"])
def test_a_compiled_method_gives_the_same(model: TinyModel, method: str) -> None:
    function = getattr(model, method)

    got, want = compiled(function)(X, 3, seed=1), function(X, 3, seed=1)

    if method == "record":
        got, want = got[-1], want[-1]
    assert torch.equal(got.output_image, want.output_image)
    assert model.training


def test_a_compiled_step_of_training_has_the_same_gradients(model: TinyModel) -> None:
    label = torch.rand(2, 2)
    optimised: dict[bool, list[Tensor]] = {}

    def step(x: Tensor) -> Tensor:
        return model.loss(model(x, 3, seed=1), label)["total"]

    for is_compiled in (False, True):
        model.zero_grad()
        function = torch.compile(step, backend="aot_eager") if is_compiled else step
        function(X).backward()
        optimised[is_compiled] = [p.grad.clone() for p in model.parameters() if p.grad is not None]

    assert len(optimised[True]) == len(list(model.parameters()))
    for got, want in zip(optimised[True], optimised[False], strict=True):
        torch.testing.assert_close(got, want)


def test_a_compiled_function_may_run_a_rollout(make_model: MakeModel) -> None:
    model = make_model()

    def twice(x: Tensor) -> Tensor:
        return rollout(model, rollout(model, x + 1, 2, seed=1), 2, start=2, seed=1) * 2

    assert torch.equal(compiled(twice)(X), twice(X))


def test_a_rollout_imports_no_compiler() -> None:
    script = (
        "import sys, torch\n"
        "from core_models import TinyModel\n"
        "model = TinyModel(torch.device('cpu'), 1, 1, 1)\n"
        "model(torch.rand(1, 3, 4, 4), 2)\n"
        "model.predict(torch.rand(1, 1, 4, 4), 2)\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    path = [entry for entry in sys.path if entry.endswith("support")]

    subprocess.run([sys.executable, "-c", f"import sys\nsys.path += {path}\n{script}"], check=True)
