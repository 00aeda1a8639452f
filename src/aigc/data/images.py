"""Images from files: a folder, an archive, one picture, or an IDX file."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aigc._checks import fail, fail_type, integer
from aigc.data._examples import Examples, stacked, surveyed
from aigc.data._files import Files, listing, numbered, path_of
from aigc.data.idx import companion, labels_beside, pictures
from aigc.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Fit", "images"]

Fit = Literal["cover", "stretch", "cut"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_SKIP = "Mend or remove it, or leave such files out with skip_unreadable=True."


def images(
    source: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "cover",
    channels: Literal[1, 3, 4] | None = None,
    labels: bool | Callable[[str], str] = False,
    check: bool = True,
    skip_unreadable: bool = False,
) -> Examples:
    """Finds images, and reads each when it is asked for, as float32 `(channels, height, width)` in [0, 1].

    Nothing is rescaled unless `size` says so, and nothing changes its colours unless `channels` does: images that differ
    are an error. Photographs are turned upright as their files say; of an animation the first frame is taken.

    Args:
        source: A folder, with all folders under it; a zip archive; a picture; or an IDX file such as
            `train-images-idx3-ubyte.gz`. Other formats than IDX need the extra `images`. The order is that of the names.
        size: Height and width, or one number for both.
        fit: How an image of another shape gets that size: `"cover"` scales it until it covers the size, and cuts the
            middle out; `"stretch"` scales each side by itself; `"cut"` cuts the middle out and scales nothing. Scaling is
            bicubic and antialiased.
        channels: 1 is grey (by the weights of ITU-R 601), 3 is red, green, blue, and 4 adds opacity. Where that is dropped,
            the image is laid on white. None takes what the files have.
        labels: True reads classes from the first sub-folder, or for IDX from the file of labels beside it; a function maps
            a name relative to the source to its class.
        check: Whether each file is read once now, so that a damaged one is found before training; False reads headers only.
        skip_unreadable: Whether damaged files are left out, and listed in `.skipped`.

    Raises:
        DataNotFoundError: If there is nothing there.
        DataError: If a file cannot be read, or differs in shape; the sentence names it.
        ParameterError: If an argument is out of range.

    Example:
        >>> import tempfile
        >>> from aigc.data import write_png
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(f"{folder}/small.png", torch.zeros(3, 8, 6))
        ...     write_png(f"{folder}/large.png", torch.ones(3, 16, 16))
        ...     found = images(folder, size=4, channels=1)
        ...     found.shape, [round(float(image.mean()), 3) for image in found]  # large.png, then small.png
        ((1, 4, 4), [1.0, 0.0])
    """
    form = _form(size, fit, channels)
    if skip_unreadable and not check:
        raise fail("check", "True with skip_unreadable", check, "To leave files out, they have to be read.")
    path = path_of("source", source)
    if path.is_file() and not path.name.lower().endswith((*_SUFFIXES, ".zip")):
        return _from_idx(path, form, labels)
    files = _listing(path)
    folder = _Folder(files, tuple(range(len(files.names))), form)
    cure = "Give size= to bring all to one size, or channels=."
    survey = surveyed(files, folder.look if check else folder.glance, skip=skip_unreadable, cure=cure)
    classes, places = numbered(files, labels)
    return Examples(
        _Folder(files, survey.kept, form),
        survey.shape,
        classes,
        None if places is None else torch.tensor([places[index] for index in survey.kept]),
        survey.skipped,
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """What an image is brought to."""

    size: tuple[int, int] | None
    fit: Fit
    channels: Literal[1, 3, 4] | None

    def shape(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        return (self.channels or channels, *(self.size or (height, width)))

    def fitted(self, image: Tensor, where: str) -> Tensor:
        """An image of the size asked for."""
        have = (image.shape[1], image.shape[2])
        if self.size is None or have == self.size:
            return image
        if self.fit == "stretch":
            return _scaled(image, self.size)
        if self.fit == "cover":
            ratio = max(self.size[0] / have[0], self.size[1] / have[1])
            image = _scaled(image, (max(self.size[0], round(have[0] * ratio)), max(self.size[1], round(have[1] * ratio))))
        elif have[0] < self.size[0] or have[1] < self.size[1]:
            raise DataError(f'{where} is {have[0]} x {have[1]}: too small to cut {self.size} out. Give fit="cover".')
        top, left = (image.shape[1] - self.size[0]) // 2, (image.shape[2] - self.size[1]) // 2
        return image[:, top : top + self.size[0], left : left + self.size[1]]


@dataclass(frozen=True, slots=True)
class _Folder:
    """Files that are pictures."""

    files: Files
    kept: tuple[int, ...]
    form: _Form

    def __len__(self) -> int:
        return len(self.kept)

    def read(self, index: int) -> Tensor:
        place = self.kept[index]
        where = self.files.where(place)
        levels = _opened(self.files.read(place), where, lambda image: _levels(image, self.form.channels))
        return self.form.fitted(torch.from_numpy(levels).movedim(-1, 0).contiguous(), where).contiguous()

    def all(self) -> Tensor:
        return stacked(self)

    def look(self, index: int) -> tuple[int, ...]:
        """The shape of an image, read whole."""
        return tuple(self.read(index).shape)

    def glance(self, index: int) -> tuple[int, ...]:
        """The shape of an image, by its header."""
        found: tuple[int, ...] = _opened(self.files.read(index), self.files.where(index), self._shape)
        return found

    def _shape(self, image: "Image") -> tuple[int, ...]:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # orientations that swap the sides
        return self.form.shape(_channels(image), *((width, height) if turned else (height, width)))


@dataclass(frozen=True, slots=True)
class _Array:
    """Grey pictures in memory, `(n, height, width)`, uint8."""

    pixels: Tensor
    form: _Form
    where: str

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> Tensor:
        return self.form.fitted(self._floats(slice(index, index + 1))[0], self.where)

    def all(self) -> Tensor:
        return self._floats(slice(None)) if self.form.size is None else stacked(self)

    def _floats(self, rows: slice) -> Tensor:
        grey = self.pixels[rows, None].float() / 255
        if self.form.channels in (None, 1):
            return grey
        colours = grey.expand(-1, 3, -1, -1)
        return torch.cat([colours, torch.ones_like(grey)], 1) if self.form.channels == 4 else colours.contiguous()


def _form(size: Any, fit: Any, channels: Any) -> _Form:
    if fit not in get_args(Fit):
        raise fail("fit", f"one of {', '.join(get_args(Fit))}", fit)
    if channels is not None and integer("channels", channels) not in _MODES:
        raise fail("channels", "1, 3, 4 or None", channels)
    if size is None:
        return _Form(None, fit, channels)
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise fail("size", "a height and a width, or one number for both", size)
    return _Form((integer("size", sides[0], low=1), integer("size", sides[1], low=1)), fit, channels)


def _listing(path: Path) -> Files:
    try:
        return listing(path, _SUFFIXES, "images")
    except DataNotFoundError:
        found = sorted(path.glob("*idx3-ubyte*")) if path.is_dir() else []
        if found:
            cure = f"Name the file, such as images({str(found[0])!r}), or use aigc.data.mnist."
            raise fail("source", "one file where the images are in IDX files", str(path), cure) from None
        raise


def _from_idx(path: Path, form: _Form, labels: bool | Callable[[str], str]) -> Examples:
    if callable(labels):
        raise fail_type("labels", "True or False for an IDX file", labels)
    pixels = pictures(path)
    shape = form.shape(1, pixels.shape[1], pixels.shape[2])
    source = _Array(pixels, form, str(path))
    source.read(0)  # the size may not fit
    if not labels:
        return Examples(source, shape)
    places = companion(pixels, labels_beside(path))
    classes = tuple(str(number) for number in range(int(places.max()) + 1))
    return Examples(source, shape, classes, places)


def _opened(data: bytes, where: str, use: Callable[["Image"], Any]) -> Any:
    """Decodes a picture; a decoder may raise anything over a damaged file, and what it raises is the cause of ours."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("images need pillow: pip install 'aigc[images]'") from None
    try:
        Image.open(io.BytesIO(data)).verify()  # checksums, which reading alone does not look at
        with Image.open(io.BytesIO(data)) as image:
            return use(image)
    except DataError as error:
        raise DataError(f"{where} {error}") from None
    except Exception as error:
        raise DataError(f"{where} is no image that can be read: {error}. {_SKIP}") from error


def _channels(image: "Image") -> int:
    """How many channels a picture has of its own."""
    if "A" in image.getbands() or "transparency" in image.info:
        return 4
    return 1 if len(image.getbands()) == 1 and image.mode != "P" else 3


def _levels(image: "Image", channels: Literal[1, 3, 4] | None) -> Any:
    """The numbers of a picture: float32, `(height, width, channels)`, in [0, 1]."""
    from PIL import Image, ImageOps

    image.load()
    of_16_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    image = ImageOps.exif_transpose(image)
    wanted = channels or _channels(image)
    if of_16_bits:
        grey = np.asarray(image).astype(np.float32)[..., None] / 65535
        opacity = [np.ones_like(grey)] if wanted == 4 else []
        return np.concatenate([grey] * (1 if wanted == 1 else 3) + opacity, axis=-1)
    if image.mode in ("I", "F"):
        raise DataError(
            f"holds numbers whose range it does not say (mode {image.mode}). Save it with 8 or 16 bits a channel."
        )
    if _channels(image) == 4 and wanted != 4:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    levels = np.asarray(image.convert(_MODES[wanted]), dtype=np.float32) / 255
    return levels[..., None] if levels.ndim == 2 else levels


def _scaled(image: Tensor, size: tuple[int, int]) -> Tensor:
    scaled = F.interpolate(image[None], size=size, mode="bicubic", antialias=True, align_corners=False)[0]
    return scaled.clamp_(0, 1)  # bicubic overshoots at edges
