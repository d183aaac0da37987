import torch

from ncalab.core.selective import selective_risks


def test_risks_are_the_means_of_the_surest_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = torch.rand(20, generator=generator, dtype=torch.float64)
    scores = torch.randperm(20, generator=generator)

    risks = selective_risks(errors, scores)

    surest = errors[scores.argsort()]
    want = torch.stack([surest[:count].mean() for count in range(1, 21)])
    torch.testing.assert_close(risks, want, rtol=1e-12, atol=0)


def test_equal_scores_give_the_mean_whatever_the_order() -> None:
    errors = torch.tensor([1.0, 0.0, 0.5, 0.5])

    for ordered in (errors, errors.flip(0)):
        torch.testing.assert_close(selective_risks(ordered, torch.zeros(4)), torch.full((4,), 0.5))
