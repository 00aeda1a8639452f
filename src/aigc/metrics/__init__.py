"""How good a set of generated data is: pure functions of features, and results that say how they were measured.

    from aigc import metrics
    from aigc.metrics.features import RandomConv, extract

    extractor = RandomConv(0)
    real, fake = extract(extractor, images), extract(extractor, generated)
    print(metrics.frechet_distance(real, fake))    # Frechet distance 1.234 (features: random-conv ...; 10,000 real, ...)

The first argument is always the real set, the second the generated one; features are tensors `(n, d)`, or `Features`, which
know their extractor. `frechet_distance`, `kid` and `c2st` are symmetric; `precision_recall` swaps its two numbers with the
sets; `density_coverage` is not symmetric. `inception_score` and `mode_coverage` look at the generated set alone.

A number means something only beside that of another set of the same size by the same features. Which number to read: the
distances say how far off a generator is, all in all; precision and density whether what it makes is real; recall, coverage
and modes whether it makes all there is; `c2st` whether anything at all tells the two apart.

`aigc.metrics.text` is for texts themselves: how well they are predicted, how varied they are, and whether they repeat
themselves or what was trained on.
"""

from aigc.metrics import features, text
from aigc.metrics.features.contract import Features, extract
from aigc.metrics.frechet import frechet_distance
from aigc.metrics.kernel import kid
from aigc.metrics.modes import mode_coverage
from aigc.metrics.moments import Moments
from aigc.metrics.neighbours import density_coverage, precision_recall
from aigc.metrics.results import (
    C2ST,
    DensityCoverage,
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    ModeCoverage,
    PrecisionRecall,
)
from aigc.metrics.scores import inception_score
from aigc.metrics.text.diversity import distinct_n, ngram_entropy, self_bleu
from aigc.metrics.text.frontier import divergence_frontier, mauve
from aigc.metrics.text.likelihood import likelihood
from aigc.metrics.text.overlap import OverlapIndex
from aigc.metrics.text.repetition import repetition
from aigc.metrics.two_sample import c2st

__all__ = [
    "C2ST",
    "DensityCoverage",
    "Features",
    "FrechetDistance",
    "InceptionScore",
    "KernelDistance",
    "ModeCoverage",
    "Moments",
    "OverlapIndex",
    "PrecisionRecall",
    "c2st",
    "density_coverage",
    "distinct_n",
    "divergence_frontier",
    "extract",
    "features",
    "frechet_distance",
    "inception_score",
    "kid",
    "likelihood",
    "mauve",
    "mode_coverage",
    "ngram_entropy",
    "precision_recall",
    "repetition",
    "self_bleu",
    "text",
]
