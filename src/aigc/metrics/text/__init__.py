"""How good texts are, and how well they are predicted: pure functions of strings, token ids, log-probabilities, features.

    from aigc.metrics import text

    text.likelihood(scored)                  # bits per byte and per character, perplexity, with intervals
    text.compare(scored, scored_by_other)    # which of two models predicts better, if one does
    text.distinct_n(texts), text.ngram_entropy(texts), text.self_bleu(texts), text.repetition(texts), text.lengths(texts)
    text.mauve(real_features, fake_features) # how far two sets of texts are apart
    text.OverlapIndex(corpus, n=50).search(texts)    # what was copied, and from where

words.py        what is counted: words, characters of Chinese, marks; any other rule can be given
likelihood.py   scored documents
comparing.py    two models on the same documents
diversity.py    distinct n-grams, entropy, self-BLEU
repetition.py   repetition within texts; lengths
frontier.py     divergence frontiers
overlap.py      verbatim runs of a corpus
"""

from aigc.metrics.text.comparing import Comparison, compare
from aigc.metrics.text.diversity import Distinct, NgramEntropy, SelfBleu, distinct_n, ngram_entropy, self_bleu
from aigc.metrics.text.frontier import DivergenceFrontier, Frontier, divergence_frontier, mauve
from aigc.metrics.text.likelihood import Amount, Estimate, Likelihood, ScoredText, likelihood
from aigc.metrics.text.overlap import Overlap, OverlapIndex, Run
from aigc.metrics.text.repetition import Lengths, Repetition, lengths, repetition
from aigc.metrics.text.words import spans, words

__all__ = [
    "Amount", "Comparison", "Distinct", "DivergenceFrontier", "Estimate", "Frontier", "Lengths", "Likelihood",
    "NgramEntropy", "Overlap", "OverlapIndex", "Repetition", "Run", "ScoredText", "SelfBleu", "compare", "distinct_n",
    "divergence_frontier", "lengths", "likelihood", "mauve", "ngram_entropy", "repetition", "self_bleu", "spans", "words",
]  # fmt: skip
