"""Turn what a still image's decoder gives into upright 8-bit grey, and check what is lost on the way."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from chestxray.imaging.radiograph import DAMAGED, Check, Pixels, RadiographError

ROWS = 256
"""Worked on at a time: a copy of all, in colour or in whole numbers, takes several bytes a pixel."""

MIN_BITS = 8
"""Of deeper pixels, as few as these may be occupied."""

OCCUPIED = 0.995
"""Share of the pixels that the occupied bits must hold."""

FULL_SCALE = 65535

MAX_DEEP_COLOUR = 10_000_000
"""Pixels of 16 bits and several channels, all of which are held at once."""

SAMPLE = 256
"""Pixels on a side, at most, that are looked at for colour."""

COLOURED = 40
"""Levels between the channels of a pixel, beyond which the eye sees colour."""

ANNOTATED = 0.0005
"""Share of coloured pixels from which on an image has coloured marks."""

COLOURFUL = 0.1
"""Share of coloured pixels from which on an image is a colour photograph."""


@dataclass(frozen=True)
class Grey:
    """Grey levels, uint8, height × width, and what their making made doubtful or pointless."""

    pixels: Pixels
    checks: tuple[Check, ...] = ()


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image of no or too many pixels, by its header.

    Raises:
        RadiographError: it has.
    """
    if not width or not height:
        raise RadiographError(DAMAGED)
    if width * height > max_pixels:
        raise RadiographError(f"{width}×{height} pixels are more than {max_pixels:,}", "image-too-large")


def from_deep(values: npt.NDArray[np.uint16], significant: int | None = None) -> Grey:
    """Turn deep grey to 8 bits, the occupied range to full scale (see docs/decisions/still-images.md).

    Args:
        values: height × width.
        significant: bits that the file says are significant, if it does; 16 where its values are known to fill them.

    Returns:
        The grey, with a "bit-depth" check where the number of bits was guessed. Values beyond them are white.
    """
    if significant is None:
        bits = _occupied_bits(values)
        message = f"The pixels have 16 bits, of which {bits} seem to be used: full scale was taken as {2**bits - 1}."
        checks = () if bits == 16 else (Check("bit-depth", "warned", message, bits, 16),)
        return Grey(_scaled(values, bits), checks)
    return Grey(_scaled(values, significant))


def from_bits(values: npt.NDArray[np.generic], bits: int) -> Grey:
    """Turn grey of a declared depth to 8 bits: fewer than 16 are believed, of 16 the occupied ones are guessed.

    Args:
        values: height × width, unsigned.
        bits: that a codestream says its values have.
    """
    if bits == 8:
        return Grey(np.asarray(values, np.uint8))
    return from_deep(values.astype(np.uint16, copy=False), bits if bits < 16 else None)


def from_deep_colour(channels: npt.NDArray[np.uint16]) -> Grey:
    """Turn deep channels to luma, as `from_deep` does with grey.

    Args:
        channels: height × width × 1, 2 (grey and transparency), 3 or 4.
    """
    count = channels.shape[2] - (channels.shape[2] % 2 == 0)  # the last of two or four is transparency
    opaque = np.ascontiguousarray(channels[..., :count])
    scaled = from_deep(opaque.reshape(len(opaque), -1))
    pixels = scaled.pixels.reshape(opaque.shape)
    grey = from_colour(pixels) if count == 3 else Grey(pixels[..., 0])
    return Grey(grey.pixels, (*scaled.checks, *grey.checks))


def from_declared(values: npt.NDArray[np.uint16], significant: int) -> Grey:
    """Turn deep grey to 8 bits where the file tells how many bits are significant, as `sBIT` of a PNG does.

    PNG wants them at the top of the 16, so that full scale stays full scale; many writers leave them at the bottom.
    """
    return from_deep(values, significant if _occupied_bits(values) <= significant else 16)


def _occupied_bits(values: npt.NDArray[np.uint16]) -> int:
    """Return the fewest bits that hold nearly all pixels below full scale, which is where markers are."""
    # As many bits as the upper byte has, and eight: 256 bins tell.
    upper = np.zeros(256, np.int64)
    for top in range(0, len(values), ROWS):
        strip = values[top : top + ROWS]
        counts = cv2.calcHist([(strip >> 8).astype(np.uint8)], [0], None, [256], [0, 256])
        upper += counts.ravel().astype(np.int64)
        upper[255] -= np.count_nonzero(strip == FULL_SCALE)
    held = np.cumsum(upper)
    if held[-1] == 0:
        return 16
    return MIN_BITS + int(np.searchsorted(held, OCCUPIED * held[-1])).bit_length()


def _scaled(values: npt.NDArray[np.uint16], bits: int) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(values, alpha=255 / (2**bits - 1)), np.uint8)


def from_image(image: Image.Image) -> Grey:
    """Turn a decoded image of 8 bits a channel to luma (ITU-R BT.601), and look for colour; transparency is dropped."""
    if image.mode == "L":
        return Grey(np.asarray(image))
    grey = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, ROWS):
        strip = image.crop((0, top, image.width, min(top + ROWS, image.height)))
        grey[top : top + ROWS] = np.asarray(strip.convert("L"))
    return Grey(grey, () if image.mode in ("1", "LA", "La") else _colour_checks(image))


def from_colour(channels: npt.NDArray[np.uint8], mode: str = "RGB") -> Grey:
    """Turn the channels of an image, height × width × channels, to luma, as `from_image` does."""
    if mode == "RGB":
        red, green, blue = (np.asarray(channel, np.uint8) for channel in cv2.split(channels))
        if np.array_equal(red, green) and np.array_equal(green, blue):
            return Grey(red)
    height, width, _ = channels.shape
    return from_image(Image.frombuffer(mode, (width, height), channels, "raw", mode, 0, 1))


def _colour_checks(image: Image.Image) -> tuple[Check, ...]:
    """Check the share of coloured pixels, of every n-th pixel.

    A tint, as a photographed film on its light box has, is no colour: it is in proportion to the brightness, so what is
    proportional of the differences between channels is taken off.
    """
    step = -(-max(image.size) // SAMPLE)
    small = image.resize((-(-image.width // step), -(-image.height // step)), Image.Resampling.NEAREST)
    red, green, blue = np.asarray(small.convert("RGB"), np.float32).reshape(-1, 3).T
    differences = np.stack([red - green, blue - green])
    if np.abs(differences).max() <= COLOURED:
        return ()
    tint = differences @ green / max(float(green @ green), 1.0)
    differences -= tint[:, None] * green
    share = float(np.mean(np.abs(differences).max(axis=0) > COLOURED))
    if share < ANNOTATED:
        return ()
    if share < COLOURFUL:
        message = f"{share:.2%} of the pixels are coloured, as annotations are: the model learned from films without."
        return (Check("colour", "warned", message, share, ANNOTATED),)
    message = f"{share:.0%} of the pixels are coloured: a colour photograph; a radiograph is grey."
    return (Check("colour", "refused", message, share, COLOURFUL),)


def upright(pixels: Pixels, exif: bytes | None) -> Pixels:
    """Apply the EXIF orientation; if a good image has a damaged one, leave the pixels as they are.

    Args:
        pixels: height × width.
        exif: a block of EXIF, if there is one.
    """
    if exif is None:
        return pixels
    try:
        block = Image.Exif()
        block.load(exif)
        orientation = block.get(ExifTags.Base.Orientation)
    except Exception:  # Pillow's reader of EXIF raises anything
        return pixels
    return turned(pixels, orientation) if isinstance(orientation, int) else pixels


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Bring pixels upright by an orientation of EXIF or TIFF, 1 to 8; another one leaves them as they are."""
    turn = TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _transpose(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.transpose(pixels), np.uint8)  # several times as fast as NumPy's


TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: _transpose,
    6: lambda pixels: np.fliplr(_transpose(pixels)),
    7: lambda pixels: np.rot90(_transpose(pixels), 2),
    8: lambda pixels: np.flipud(_transpose(pixels)),
}
"""What brings an image upright, by its EXIF orientation; with 1 it is upright already."""
