"""The JSON file of a split, read with distrust."""

import json
import logging
from pathlib import Path
from typing import Any

from ncalab.core.saving import PathLike

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
"""Size of the largest file that is read: some hundred thousand file names in ten folds."""

_KEYS = ("train", "val")


def read_folds(path: PathLike) -> list[dict[str, Any]]:
    """Read a list of objects that each have "train" and "val"; what is in those is not checked.

    Args:
        path: JSON file in UTF-8.

    Returns:
        The folds, at least one.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is anything else; the error names file, fold and reason.
    """
    folds = _parse(path)
    if not isinstance(folds, list):
        raise ValueError(f"{path} must hold a list of folds, got {_kind(folds)}")
    if not folds:
        raise ValueError(f"{path} must hold at least one fold, got an empty list")
    for index, fold in enumerate(folds):
        _check_fold(f"{path}, fold {index}", fold)
    return folds


def _parse(path: PathLike) -> Any:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path must be a JSON file of a split, got {path}")
    if not path.is_file():
        raise ValueError(f"path must be a JSON file of a split, got {path}, which is not a file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} must be at most {MAX_BYTES} bytes long, got {size}")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be JSON in UTF-8, got other bytes ({error})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be whole JSON: {error}") from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} must be a list of folds: {error}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object of which the parser would silently drop a part."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"an object has the key {repeated[0]!r:.80} more than once")
    return found


def _check_fold(where: str, fold: Any) -> None:
    if not isinstance(fold, dict):
        raise ValueError(f'{where}: must be an object with "train" and "val", got {_kind(fold)}')
    if missing := [key for key in _KEYS if key not in fold]:
        raise ValueError(f'{where}: must have the key "{missing[0]}", got {sorted(fold)!r:.80}')
    for key in _KEYS:
        if not isinstance(fold[key], list):
            raise ValueError(f"{where}: {key} must be a list of file names, got {_kind(fold[key])}")
        for entry in fold[key]:
            if not isinstance(entry, str) or not entry:
                raise ValueError(f"{where}: {key} must hold file names only, got {entry!r:.80}")
    if unknown := sorted(set(fold) - set(_KEYS)):
        logger.warning("%s: keys without a meaning here are left out: %s", where, unknown)


def _kind(value: Any) -> str:
    """Name a JSON value in the words of JSON."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else "a number")
