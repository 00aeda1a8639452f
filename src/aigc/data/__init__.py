"""Data: images, sounds and texts from files, checks, and pictures and sounds back into files.

idx.py          the format of MNIST
images.py       folders, archives and IDX files of images, read lazily
sounds.py       WAV files, read lazily
spectrograms.py pictures of sounds, and sounds of pictures
checks.py       what a model needs of data, or an error with a cure
pictures.py     grids, PNG and GIF
text/           corpora, tokenizers, token files and windows of them
"""

from aigc.data._examples import Examples, Skipped
from aigc.data.checks import check_images, check_sounds
from aigc.data.idx import Labelled, mnist, read_idx, write_idx
from aigc.data.images import images
from aigc.data.pictures import grid, side_by_side, write_gif, write_png
from aigc.data.sounds import Sound, read_wav, sounds, write_wav
from aigc.data.spectrograms import Spectrogram
from aigc.data.text import Corpus, Document, Manifest, Tokens, pack, texts, train_tokenizer, write_tokens

__all__ = [
    "Corpus",
    "Document",
    "Examples",
    "Labelled",
    "Manifest",
    "Skipped",
    "Sound",
    "Spectrogram",
    "Tokens",
    "check_images",
    "check_sounds",
    "grid",
    "images",
    "mnist",
    "pack",
    "read_idx",
    "read_wav",
    "side_by_side",
    "sounds",
    "texts",
    "train_tokenizer",
    "write_gif",
    "write_idx",
    "write_png",
    "write_tokens",
    "write_wav",
]
