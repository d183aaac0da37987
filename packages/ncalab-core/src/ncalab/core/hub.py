"""Models on the Hugging Face Hub: the extra ``hub``."""

import copyreg
from abc import ABCMeta
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch

from ncalab.core import saving
from ncalab.core.extras import require
from ncalab.core.model_card import CARD_NAME, model_card, write_card
from ncalab.core.savable import SavableModel


def on_hub(model_class: type[SavableModel]) -> Any:
    """Return a class of the same models that is a PyTorchModelHubMixin, too.

    It has ``push_to_hub``, and its ``from_pretrained`` takes a folder or the name of a repository.
    Files are those of the class itself, ``model.safetensors`` and ``config.json``, so that either
    reads what the other wrote.

    The mixin is given on request, and not to every model: it would make huggingface_hub a
    requirement of all, and would keep the arguments of each model a second time, before they are
    checked.

    Args:
        model_class: Class of models, for example ``GrowingNCAModel``.

    Returns:
        Class derived from ``PyTorchModelHubMixin`` and ``model_class``, the same at every call.

    Raises:
        ImportError: If the extra ``hub`` is not installed.
        TypeError: If ``model_class`` is not a class of models.
    """
    if not (isinstance(model_class, type) and issubclass(model_class, SavableModel)):
        raise TypeError(f"model_class must be a class of models, got {model_class!r}")
    hub = require("huggingface_hub", "hub")
    if issubclass(model_class, hub.PyTorchModelHubMixin):
        return model_class
    plain: Any = model_class  # mypy takes no class with a metaclass for hashable
    return _make_class(plain)


@cache
def _make_class(model_class: type[SavableModel]) -> Any:
    mixin = require("huggingface_hub", "hub").PyTorchModelHubMixin
    # Files name the plain class, which stays the registered one.
    members = {"stands_for": model_class, "__module__": __name__, "__doc__": model_class.__doc__}
    return _HubClass(model_class.__name__, (_OnHub, mixin, model_class), members)


class _HubClass(ABCMeta):
    """Class of the classes that :func:`on_hub` makes: they are pickled as its result."""


def _pickle_class(made: Any) -> str | tuple[Any, ...]:
    # No module has it under its name; one that is derived from it is a class like any other.
    is_made = "stands_for" in vars(made)
    return (on_hub, (made.stands_for,)) if is_made else str(made.__qualname__)


copyreg.pickle(_HubClass, _pickle_class)


class _OnHub:
    """Methods of the mixin that the library replaces by its own."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        # Past the mixin, which would copy the arguments to save them: a model describes itself.
        return object.__new__(cls)

    @classmethod
    def from_pretrained(
        cls,
        path: saving.PathLike,
        *,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: saving.PathLike | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Any:
        """Rebuild a saved model from a folder, a file or a repository of the Hub.

        Args:
            path: Folder of :meth:`save_pretrained`, file of ``save``, or "user/name".
            device: Where to create it.
            revision: Branch, tag or commit of the repository.
            token: Token of an account, for private repositories; the stored one if None.
            cache_dir: Where downloads are kept; the Hub's own place if None.
            force_download: Whether to download what is there already.
            local_files_only: Whether to use only what is there already.

        Returns:
            The model, in evaluation mode.

        Raises:
            FileNotFoundError: If the file, folder or repository does not exist.
            ValueError: If a file is broken or the class is not known.
        """
        if not Path(path).exists():
            options = {
                "revision": revision,
                "token": token,
                "cache_dir": cache_dir,
                "force_download": force_download,
                "local_files_only": local_files_only,
            }
            path = _download(str(path), options)
        parent: Any = SavableModel.from_pretrained
        return parent.__func__(cls, path, device=device)

    def save_pretrained(
        self,
        folder: saving.PathLike,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        config: None = None,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write weights, configuration and, if there is none, a card into a folder.

        Args:
            folder: Folder, created if missing.
            repo_id: Repository to push to; named as the folder if None.
            push_to_hub: Whether to upload them, too.
            config: None: the model describes itself.
            model_card_kwargs: Arguments of :func:`ncalab.core.hub.model_card`.
            **push_to_hub_kwargs: Arguments of ``push_to_hub``.

        Returns:
            Address of the commit, None if nothing was pushed.

        Raises:
            ValueError: If a configuration is given.
        """
        if config is not None:
            raise ValueError("config must be None: a model describes itself, got another one")
        model: Any = self
        saving.save_pretrained(model, folder)
        if not (Path(folder) / CARD_NAME).exists():
            write_card(model_card(model, **(model_card_kwargs or {})), folder)
        if not push_to_hub:
            return None
        name = repo_id or Path(folder).name
        address: str = model.push_to_hub(
            name, model_card_kwargs=model_card_kwargs, **push_to_hub_kwargs
        )
        return address

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload weights, configuration and, if the repository has none, a card.

        Args:
            repo_id: Repository, "user/name"; created if it is missing.
            **options: Those of ``PyTorchModelHubMixin.push_to_hub``, such as ``private``,
                ``token``, ``commit_message``, ``model_card_kwargs``.

        Returns:
            Address of the commit.
        """
        api = require("huggingface_hub", "hub").HfApi(token=options.get("token"))
        if api.file_exists(repo_id, CARD_NAME, revision=options.get("branch")):
            ignored = options.get("ignore_patterns") or []
            ignored = [ignored] if isinstance(ignored, str) else list(ignored)
            options["ignore_patterns"] = [*ignored, CARD_NAME]
        parent: Any = super()
        address: str = parent.push_to_hub(repo_id, **options)
        return address


def _download(repo_id: str, options: dict[str, Any]) -> Path:
    """Download configuration and weights; return their folder.

    Raises:
        FileNotFoundError: If the repository does not exist, or lacks a file.
    """
    hub = require("huggingface_hub", "hub")
    errors = require("huggingface_hub.errors", "hub")
    missing = (errors.RepositoryNotFoundError, errors.EntryNotFoundError, errors.HFValidationError)
    try:
        names = (saving.CONFIG_NAME, saving.WEIGHTS_NAME)
        paths = [Path(hub.hf_hub_download(repo_id, name, **options)) for name in names]
    except missing as error:
        raise FileNotFoundError(
            f"path must be a folder, a file or a repository of the Hub, got {repo_id} ({error})"
        ) from error
    return paths[0].parent
