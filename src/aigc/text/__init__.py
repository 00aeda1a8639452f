"""Text: `Generator`, and what it returns. Start reading in `generator.py`, then `loop.py`.

generator.py       the face: what can be asked
engine.py          a model and its tokenizer at work
requests.py        arguments checked and turned into rows
batches.py         how many rows run at once
collecting.py      steps become completions, and an interruption loses none
progress.py        how far a call has come
asynchronous.py    steps on a thread, for the event loop
turns.py           threads use a model one step at a time
writing.py         the loop's tokens become chunks
constraining.py    json=, regex=, choices=, grammar=
loading.py         from a folder or a name to a model and its tokenizer
files.py           a model's folder, checked before it is read
_transformers.py   models, tokenizers and caches of transformers behind small types
_transformers_kinds.py   the same for encoder-decoder and masked models
_transformers_files.py   read from folders and written to them
packed/            a decoder of our own on packed weights, for the CPU
plan.py            which way a model's batches run, found by trying
forwards.py        the ways of causal models: slots, padded, alone
graphs.py          slots by CUDA graphs: steps that are recorded and replayed
seq2seq.py         the ways of encoder-decoder models: together, apart
masked.py          the way of masked models, and what they say of a gap
gaps.py            texts whose tokens go into gaps
session.py         calls that pay for new tokens only
searching.py       what can be searched for, and what goes with it
beams.py           beam search
contrastive.py     contrastive search
choosing.py        of several samples the best
guidance.py        what a prompt says, less what another one says
shaping.py         what filters leave, where nothing is drawn
speculation.py     guesses that change no token
slots.py           where keys and values live
loop.py            forward, draw, hand out; knows token ids only
rows.py            a text in the making
decoding.py        ids to text
stopping.py        stop strings
scoring.py         log-probabilities of given texts
detecting.py       watermarks of given texts
results.py         what comes back
learning.py        how a model learns from texts
material.py        texts as windows to train on
conversations.py   conversations likewise: the answers alone are learned
mixtures.py        both together
network_loss.py    a model as a loss of windows; losses.py, without all logits at once
held_out.py        texts that are looked at meanwhile
sharding.py        a model in shards, over several processes
scratch.py         a model for a corpus, untrained
adapters.py        LoRA
adapter_notes.py   chat templates and manifests of adapters
adapter_files.py   its files, and which settings of peft are read
provenance.py      what a model was trained on, in its folder
evaluating.py      how good a model is, by held-out text
evaluation.py      what was found, and its report
cautions.py        what to beware of in it
summary.py         which figures a report has, and how it says them
reporting.py       reports as plain text, Markdown and HTML
charts.py          their pictures
passages.py        openings that a model goes on from
representing.py    texts as vectors
"""

from aigc.device import preserved_environment

with preserved_environment():  # transformers brings in torch's compiler, which sets a variable for its cache
    from aigc.text.adapters import LoRA
    from aigc.text.beams import BeamSearch
    from aigc.text.choosing import BestOf
    from aigc.text.contrastive import ContrastiveSearch
    from aigc.text.conversations import PLAIN_TEMPLATE
    from aigc.text.detecting import detect
    from aigc.text.evaluating import evaluate
    from aigc.text.evaluation import Evaluation
    from aigc.text.gaps import Infilling
    from aigc.text.generator import Generator
    from aigc.text.guidance import Guidance
    from aigc.text.progress import Progress
    from aigc.text.representing import mean_states
    from aigc.text.results import Candidate, Chunk, Completion, Completions, Filled, Gap, Score
    from aigc.text.session import Session
    from aigc.text.speculation import PromptLookup

__all__ = [
    "PLAIN_TEMPLATE",
    "BeamSearch",
    "BestOf",
    "Candidate",
    "Chunk",
    "Completion",
    "Completions",
    "ContrastiveSearch",
    "Evaluation",
    "Filled",
    "Gap",
    "Generator",
    "Guidance",
    "Infilling",
    "LoRA",
    "Progress",
    "PromptLookup",
    "Score",
    "Session",
    "detect",
    "evaluate",
    "mean_states",
]  # fmt: skip
