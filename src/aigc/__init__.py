"""aigc: create text, images and sound with generative models that you own.

    import aigc

    gen = aigc.Generator.default()
    print(gen.generate("Hello, how are you?", max_new_tokens=50, seed=0)[0].text)

Names are resolved on first use (PEP 562), so `import aigc` itself loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {"GAN": "aigc.gan", "VAE": "aigc.vae", "VQVAE": "aigc.vae", "AigcError": "aigc.errors", "Generator": "aigc.text"}
_MODULES = (
    "checkpoint",
    "data",
    "device",
    "errors",
    "gan",
    "kernels",
    "metrics",
    "nets",
    "random",
    "sampling",
    "text",
    "training",
    "vae",
)

__all__ = [
    "GAN",
    "VAE",
    "VQVAE",
    "AigcError",
    "Generator",
    "__version__",
    "checkpoint",
    "data",
    "device",
    "errors",
    "gan",
    "kernels",
    "metrics",
    "nets",
    "random",
    "sampling",
    "text",
    "training",
    "vae",
]

if TYPE_CHECKING:
    from aigc import checkpoint, data, device, errors, gan, kernels, metrics, nets, random, sampling, text, training, vae
    from aigc.errors import AigcError
    from aigc.gan import GAN
    from aigc.text import Generator
    from aigc.vae import VAE, VQVAE


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"aigc.{name}")
    else:
        raise AttributeError(f"module 'aigc' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
