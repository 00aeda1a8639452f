"""Pictures of images: grids and animations, written as PNG and GIF without any extra."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.data._files import write_whole
from aigc.data._gif import gif
from aigc.data._png import png

__all__ = ["grid", "side_by_side", "write_gif", "write_png"]


def grid(images: Tensor, *, columns: int | None = None, gap: int = 2) -> Tensor:
    """Lays images out in rows, with thin white gaps between them.

    Args:
        images: `(n, channels, height, width)`, float in [0, 1], or uint8.
        columns: Images in a row; None makes the grid about square.
        gap: Pixels between images; 0 for none.

    Returns:
        One image, `(channels, height, width)`, of the same type. Places that are left over are white.

    Raises:
        ParameterError: If images are out of range or of another shape.

    Example:
        >>> grid(torch.zeros(5, 1, 28, 28)).shape  # 2 rows of 3
        torch.Size([1, 58, 88])
    """
    images = _checked(images, (4,))
    gap = integer("gap", gap, low=0)
    n, channels, height, width = images.shape
    across = math.ceil(math.sqrt(n)) if columns is None else min(integer("columns", columns, low=1), n)
    down = -(-n // across)
    white = 1 if images.is_floating_point() else 255
    made = images.new_full((channels, down * (height + gap) - gap, across * (width + gap) - gap), white)
    for i, image in enumerate(images):
        top, left = i // across * (height + gap), i % across * (width + gap)
        made[:, top : top + height, left : left + width] = image
    return made


def side_by_side(originals: Tensor, reconstructions: Tensor, *, columns: int = 8) -> Tensor:
    """Lays each original out above its reconstruction, in rows of pairs.

    Args:
        originals: `(n, channels, height, width)`, float in [0, 1].
        reconstructions: Likewise, as many and of the same shape.
        columns: Pairs in a row.

    Returns:
        One image, `(channels, height, width)`, for `write_png`.

    Raises:
        ParameterError: If the shapes differ, or images are out of range.

    Example:
        >>> side_by_side(torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8)).shape
        torch.Size([1, 17, 32])
    """
    originals, reconstructions = _checked(originals, (4,)), _checked(reconstructions, (4,))
    if originals.shape != reconstructions.shape or originals.dtype != reconstructions.dtype:
        raise fail("reconstructions", f"of shape {tuple(originals.shape)}, as originals", tuple(reconstructions.shape))
    line = originals.new_full((*originals.shape[:2], 1, originals.shape[3]), 1 if originals.is_floating_point() else 255)
    return grid(torch.cat([originals, line, reconstructions.to(originals.device)], 2), columns=columns, gap=4)


def write_png(path: str | Path, images: Tensor, *, columns: int | None = None, scale: int = 1) -> None:
    """Writes an image, or several as a grid, as PNG of 8 bits a channel: x becomes round(255 x).

    Args:
        path: Where; a file that is there already is replaced, in one stroke.
        images: `(channels, height, width)` or `(n, channels, height, width)`, float in [0, 1] or uint8; 1 channel is grey,
            2 are grey and opacity, 3 colours, 4 colours and opacity.
        columns: As for `grid`.
        scale: Pixels of the file for each of the image, along each side.

    Raises:
        ParameterError: If images are out of range or of another shape, or the folder does not exist.

    Example:
        >>> import tempfile
        >>> from aigc.data import images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(f"{folder}/a.png", torch.tensor([[[0.0, 1.0]]]))
        ...     images(f"{folder}/a.png")[0]
        tensor([[[0., 1.]]])
    """
    images = _checked(images, (3, 4))
    scale = integer("scale", scale, low=1)
    one = grid(images, columns=columns) if images.ndim == 4 else images
    levels = _levels(one[None])[0].repeat(scale, 0).repeat(scale, 1)
    write_whole(path, png(levels))


def write_gif(path: str | Path, frames: Tensor | Sequence[Tensor], *, fps: float = 12.0, scale: int = 1) -> None:
    """Writes an animation that runs again and again as GIF.

    The format holds 256 colours: grey frames keep every level, and coloured ones every colour where all together have no
    more; of more, 256 are chosen for each frame, which loses finer shades. Delays are whole hundredths of a second.

    Args:
        path: Where; a file that is there already is replaced, in one stroke.
        frames: `(n, channels, height, width)`, or several images of one shape: float in [0, 1] or uint8, of 1 channel or 3.
        fps: Frames a second, in [0.01, 50].
        scale: Pixels of the file for each of a frame, along each side.

    Raises:
        ParameterError: If frames are out of range or of different shapes, or an argument is out of range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_gif(f"{folder}/fade.gif", torch.linspace(0, 1, 10)[:, None, None, None].expand(10, 1, 8, 8))
        ...     Path(f"{folder}/fade.gif").read_bytes()[:6]
        b'GIF89a'
    """
    if not isinstance(frames, Tensor):
        if isinstance(frames, str | bytes) or not isinstance(frames, Sequence):
            cure = "" if frames is None else "Call list(frames), if they come one by one."
            raise fail_type("frames", "a tensor, or a list of one for each", frames, cure)
        for i, frame in enumerate(frames):
            if not isinstance(frame, Tensor):
                raise fail_type(f"frames[{i}]", "a tensor", frame, "Call torch.as_tensor on each.")
        shapes = {tuple(frame.shape) for frame in frames}
        if len(shapes) != 1:
            raise fail("frames", "at least one, all of one shape", sorted(shapes))
        frames = torch.stack(list(frames))
    frames = _checked(frames, (4,), name="frames")
    if frames.shape[1] not in (1, 3):
        raise fail("frames", "of 1 channel or 3", tuple(frames.shape), "Leave opacity out: x[:, :3].")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0.01 <= fps <= 50:
        raise fail("fps", "a number in [0.01, 50]", fps, "Readers slow down what is faster.")
    scale = integer("scale", scale, low=1)
    if max(frames.shape[2:]) * scale > 65535:
        raise fail("frames", "of at most 65,535 pixels along a side", (frames.shape[2] * scale, frames.shape[3] * scale))
    levels = _levels(frames)
    # Rounded as a whole, so that a film takes as long as it should.
    ends = [round(100 * (i + 1) / fps) for i in range(len(levels))]
    write_whole(path, gif(levels, delays=[end - start for start, end in zip([0, *ends], ends, strict=False)], scale=scale))


def _checked(images: Tensor, dimensions: tuple[int, ...], name: str = "images") -> Tensor:
    shape = "(n, channels, height, width)" + (" or (channels, height, width)" if 3 in dimensions else "")
    if not isinstance(images, Tensor) or not (images.is_floating_point() or images.dtype == torch.uint8):
        cure = "" if images is None or isinstance(images, Tensor) else f"Call torch.as_tensor({name})."
        raise fail_type(name, "a tensor of floats in [0, 1], or of uint8", getattr(images, "dtype", images), cure)
    if images.ndim not in dimensions or not images.numel() or not 1 <= images.shape[-3] <= 4:
        raise fail(name, f"of shape {shape}, with 1 to 4 channels and nothing empty", tuple(images.shape))
    if images.is_floating_point():
        low, high = (float(value) for value in torch.aminmax(images.detach()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise fail(name, "in [0, 1] and not NaN", (low, high), "Leave NaN and infinities out: no picture has them.")
        if not (low >= 0 and high <= 1):
            bytewise = low >= 0 and 2 < high <= 255  # which, cut off, would be white
            cure = "Divide them by 255: x / 255." if bytewise else "Cut what is beyond off: x.clamp(0, 1)."
            raise fail(name, "in [0, 1] and not NaN", (low, high), cure)
    return images.detach()


def _levels(images: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Images as uint8, `(n, height, width, channels)`."""
    whole = images if images.dtype == torch.uint8 else images.double().mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(whole.cpu().movedim(1, -1).numpy())
