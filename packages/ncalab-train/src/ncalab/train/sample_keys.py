"""Keys of samples: find the states of a pool that are of the same sample, and rank them."""

import torch
from torch import Tensor

# An odd multiplier for each place makes two samples that differ in one place differ in their key.
_MULTIPLIER = 0x9E3779B97F4A7C15 - 2**64
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def sample_keys(*parts: Tensor) -> Tensor:
    """Return a number for each sample of a batch: the same if and only if all its parts are.

    It is a hash of 64 bits, so that two samples of a million are taken for one with a probability
    of about 1e-8. It is computed on the device of the parts, and never waits for it.

    Args:
        *parts: What the samples consist of, such as images and labels, each of shape
            ``(B, ...)``, any dtype.

    Returns:
        Keys, shape ``(B,)``, int64.

    >>> image, label = torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 0])
    >>> keys = sample_keys(image, label)
    >>> (keys == keys[0]).tolist()
    [True, False, True]
    """
    keys = torch.zeros(len(parts[0]), dtype=torch.int64, device=parts[0].device)
    for part in parts:
        flat = part.detach().reshape(len(part), -1).contiguous()
        flat = torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat
        words = flat.view(_WORDS[flat.element_size()]).long()
        places = torch.arange(1, words.shape[1] + 1, device=words.device)
        keys = _mixed(keys) + _mixed(words + _mixed(places)).sum(dim=1)
    return keys


def _mixed(x: Tensor) -> Tensor:
    """Scramble whole numbers of 64 bits, each on its own; products wrap around.

    Source: the finaliser of SplitMix64; Steele, Lea and Flood, Fast Splittable Pseudorandom Number
    Generators, OOPSLA 2014, doi:10.1145/2660193.2660195.
    """
    x = x * _MULTIPLIER
    x = (x ^ (x >> 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ (x >> 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ (x >> 31)


def standing(losses: Tensor, keys: Tensor, all_losses: Tensor, all_keys: Tensor) -> Tensor:
    """Compare the loss of each state with those of the other states of its sample.

    The losses of two samples do not show which state is the worse one: some images are harder than
    others, and would always come last.

    Args:
        losses: Losses of the states to compare, shape ``(B,)``.
        keys: Keys of their samples, shape ``(B,)``.
        all_losses: Losses of all states, those included, shape ``(N,)``.
        all_keys: Keys of their samples, shape ``(N,)``.

    Returns:
        Share of the states of its sample that have a lower loss, in (0, 1), shape ``(B,)``; a half
        of a sample's only state, infinity for an infinite loss.

    >>> losses, keys = torch.tensor([0.1, 0.3, 9.0, torch.inf]), torch.tensor([1, 1, 2, 2])
    >>> standing(losses, keys, losses, keys).tolist()
    [0.25, 0.75, 0.25, inf]
    """
    alike = keys[:, None] == all_keys
    lower = (alike & (all_losses < losses[:, None])).sum(dim=1)
    equal = (alike & (all_losses == losses[:, None])).sum(dim=1)
    shares = (lower + equal / 2) / alike.sum(dim=1)
    return torch.where(losses.isinf(), torch.inf, shares.to(losses.dtype))
