import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from core_models import MakeModel, TinyModel, awaken
from huggingface_hub import HfApi, PyTorchModelHubMixin
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.hub import on_hub
from ncalab.core.savable import SavableModel
from ncalab.core.saving import read_tensors


@pytest.fixture
def saved(make_model: MakeModel, tmp_path: Path) -> Path:
    """Return a folder that the plain class wrote."""
    make_model().save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


def test_either_class_reads_what_the_other_wrote(
    saved: Path, tmp_path: Path, image: Tensor
) -> None:
    hub_class = on_hub(TinyModel)

    model = hub_class.from_pretrained(saved)
    model.save_pretrained(tmp_path / "hub")

    assert isinstance(model, PyTorchModelHubMixin) and isinstance(model, TinyModel)
    assert (tmp_path / "hub/config.json").read_bytes() == (saved / "config.json").read_bytes()
    assert (
        read_tensors(tmp_path / "hub/model.safetensors")[1]
        == read_tensors(saved / "model.safetensors")[1]
    )
    plain = AbstractNCAModel.from_pretrained(tmp_path / "hub")
    assert type(plain) is TinyModel and not plain.training
    want = plain.predict(image, 3, seed=1).output_image
    assert torch.equal(model.predict(image, 3, seed=1).output_image, want)


def test_the_plain_class_stays_the_registered_one() -> None:
    hub_class = on_hub(TinyModel)

    assert SavableModel.registry["TinyModel"] is TinyModel
    assert on_hub(TinyModel) is hub_class and on_hub(hub_class) is hub_class


class Derived(on_hub(TinyModel)):  # type: ignore[misc]  # a class made at run time
    """A class that a module holds."""


@pytest.mark.parametrize("hub_class", [on_hub(TinyModel), Derived])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_models_and_their_class_are_copied_and_pickled(
    image: Tensor, again: Callable[[Any], Any], hub_class: Any
) -> None:
    model = hub_class(torch.device("cpu"), 4, 3, 2, hidden_size=16)
    awaken(model)

    twin = again(model)

    assert type(twin) is again(hub_class) is hub_class
    want = model.predict(image, 3, seed=1).output_image
    assert torch.equal(twin.predict(image, 3, seed=1).output_image, want)


def test_a_pickled_model_is_read_where_nothing_was_put_on_the_hub(tmp_path: Path) -> None:
    model = on_hub(TinyModel)(torch.device("cpu"), 1, 1, 1, hidden_size=2)
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    script = "import pickle; print(type(pickle.load(open('model', 'rb'))).__mro__[:3])"
    path = os.pathsep.join(entry for entry in sys.path if entry)

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "PyTorchModelHubMixin" in done.stdout


def test_a_class_made_of_it_is_a_class_of_its_own(tmp_path: Path) -> None:
    class MadeOfIt(on_hub(TinyModel)):  # type: ignore[misc]  # a class made at run time
        pass

    model = MadeOfIt(torch.device("cpu"), 1, 1, 1, hidden_size=2)
    model.save_pretrained(tmp_path)

    assert type(AbstractNCAModel.from_pretrained(tmp_path)) is MadeOfIt


def test_a_card_that_is_there_stays(saved: Path) -> None:
    (saved / "README.md").write_text("mine")

    on_hub(TinyModel).from_pretrained(saved).save_pretrained(saved)

    assert (saved / "README.md").read_text() == "mine"


@pytest.mark.parametrize("has_card", [False, True])
def test_pushing_uploads_the_files_and_spares_the_card_that_is_there(
    saved: Path, monkeypatch: pytest.MonkeyPatch, has_card: bool
) -> None:
    uploaded: dict[str, Any] = {}

    def upload(self: HfApi, *, folder_path: Path, **options: Any) -> str:
        uploaded.update(options, files=sorted(p.name for p in Path(folder_path).iterdir()))
        return "address"

    made = huggingface_hub.RepoUrl("https://huggingface.co/user/name")
    monkeypatch.setattr(HfApi, "create_repo", lambda self, **_: made)
    monkeypatch.setattr(HfApi, "file_exists", lambda self, *_, **__: has_card)
    monkeypatch.setattr(HfApi, "upload_folder", upload)

    address = on_hub(TinyModel).from_pretrained(saved).push_to_hub("user/name")

    assert address == "address" and uploaded["repo_id"] == "user/name"
    assert uploaded["files"] == ["README.md", "config.json", "model.safetensors"]
    assert uploaded["ignore_patterns"] == (["README.md"] if has_card else None)


def test_a_repository_is_downloaded_file_by_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(repo_id: str, name: str, **options: Any) -> str:
        asked.append((repo_id, name, options["revision"]))
        return str(saved / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)

    model = on_hub(TinyModel).from_pretrained("user/name", revision="v1")

    assert isinstance(model, TinyModel)
    names = ("config.json", "model.safetensors")
    assert asked == [("user/name", name, "v1") for name in names]


def test_what_is_neither_a_folder_nor_a_repository_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="path must be a folder, .* got no/such/place"):
        on_hub(TinyModel).from_pretrained("no/such/place")


def test_what_is_no_class_of_models_is_refused() -> None:
    with pytest.raises(TypeError, match="model_class must be a class of models"):
        on_hub(torch.nn.Linear)  # type: ignore[arg-type]  # of a wrong type
