"""GANs as mathematics."""

from aigc.gan import losses, penalties
