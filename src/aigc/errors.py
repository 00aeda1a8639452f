"""Every error aigc raises, as one tree.

    AigcError
    ├── ParameterError     (also ValueError)         an argument has the wrong value
    │   └── TypeParameterError (also TypeError)      an argument has the wrong type
    ├── ModelError                                   a model cannot be used the way it was asked to be
    │   ├── ModelNotFoundError (also FileNotFoundError)   no such folder, and no such cached hub id
    │   ├── ModelFileError                           a model's file is damaged, unsafe or contradicts another
    │   └── GenerationError                          a model or a sampler failed while it wrote
    ├── TrainingError                                a training step cannot be done
    ├── DataError                                    a file of data is damaged, or does not go with the others
    │   └── DataNotFoundError (also FileNotFoundError)   no such file or folder, or nothing of the kind in it
    ├── ClosedError                                  what is used was closed before
    └── ResourceError      (also MemoryError)        the machine has too little memory for the job

Each message names the argument or file, the value, and the cure. Catch `AigcError` to catch them all.

A `GenerationError`, or a `ResourceError`, that ends `Generator.generate` has the texts that were finished before in its
`completions`; `generate(..., resume=error.completions)` writes the others.

    >>> from aigc.errors import AigcError, ParameterError
    >>> issubclass(ParameterError, AigcError) and issubclass(ParameterError, ValueError)
    True
"""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AigcError",
    "ClosedError",
    "DataError",
    "DataNotFoundError",
    "GenerationError",
    "ModelError",
    "ModelFileError",
    "ModelNotFoundError",
    "ParameterError",
    "ResourceError",
    "TrainingError",
    "TypeParameterError",
]


class AigcError(Exception):
    """The root of every error that aigc raises on purpose."""


class ParameterError(AigcError, ValueError):
    """An argument has a value outside its documented range."""


class TypeParameterError(ParameterError, TypeError):
    """An argument has a type that the function does not take."""


class ClosedError(AigcError):
    """Something is used that was closed before, such as a session."""


class TrainingError(AigcError):
    """A training step cannot be done: a loss or a gradient is not finite."""


class DataError(AigcError):
    """A file of data is damaged, holds something else than its name says, or does not go with the others."""


class DataNotFoundError(DataError, FileNotFoundError):
    """A path leads to no file or folder, or to a folder without anything of the kind asked for."""


class ModelError(AigcError):
    """A model cannot be used the way it was asked to be."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """A name is neither a folder nor a model in the local cache."""


class ModelFileError(ModelError):
    """A model's file is damaged, unsafe, or contradicts another file of the same folder."""


class GenerationError(ModelError):
    """A model or a sampler failed while it wrote; the error that it raised is the cause.

    Attributes:
        completions: What `Generator.generate` would have returned, with the rows that were not finished marked; empty if
            another method raised.
    """

    completions: Sequence[Any] = ()


class ResourceError(AigcError, MemoryError):
    """The machine has too little memory for what was asked.

    Attributes:
        completions: As for `GenerationError`.
    """

    completions: Sequence[Any] = ()
