"""The Inception score, of any classifier."""

import torch
from torch import Tensor

from aigc._checks import fail, integer
from aigc.metrics._reading import read
from aigc.metrics.features.contract import Features
from aigc.metrics.results import InceptionScore

__all__ = ["inception_score"]


def inception_score(probabilities: Tensor | Features, *, splits: int | None = None) -> InceptionScore:
    r"""Measures how sure a classifier is of each generated example, and how varied it finds them (Salimans et al.,
    arXiv:1606.03498).

    $$ \exp \operatorname{E}_x \mathrm{KL}\big(p(y \mid x) \,\|\, \operatorname{E}_x p(y \mid x)\big), $$

    the exponential of the mutual information of example and class: 1 if all are alike to the classifier, and as many as
    there are classes if it is sure of each and finds all equally often. It knows no real set: one perfect example per class
    has the highest score. Better where larger.

    Args:
        probabilities: Of the classes, for generated examples, `(n, classes)`; rows sum to 1.
        splits: Parts whose scores are averaged; publications take 10, of 5,000 each. None is one score of all.

    Returns:
        The score and what it was measured by. It is called Inception score only if the probabilities are of the published
        Inception.

    Raises:
        ParameterError: If a probability is negative, a row does not sum to 1 within 0.001, or there are fewer rows than
            splits.

    Example:
        >>> round(inception_score(torch.eye(10)).value, 9), inception_score(torch.full((5, 10), 0.1)).value
        (10.0, 1.0)
    """  # noqa: D205
    parts = 1 if splits is None else integer("splits", splits, low=2, cure="None is off.")
    found = read("probabilities", probabilities, least=parts, cure="Give more, or fewer splits.")
    p, cure = found.values, "Take logits.float().softmax(-1)."
    if bool((p < 0).any()):
        raise fail("probabilities", "at least 0", float(p.min()), cure)
    sums = p.sum(1)
    worst = int((sums - 1).abs().argmax())
    if abs(float(sums[worst]) - 1) > 1e-3:
        raise fail("probabilities", "rows that sum to 1", f"{float(sums[worst]):.4g} in row {worst}", cure)
    scores = torch.stack([_score(part) for part in p.tensor_split(parts)])
    deviation = None if splits is None else float(scores.std())
    return InceptionScore(float(scores.mean()), deviation, splits, p.shape[1], found.extractor, found.version, len(found))


def _score(p: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(p).sum(1).mean()
    of_mean: Tensor = torch.special.entr(p.mean(0)).sum()
    return (of_mean - entropy).exp()
