"""Write captions into pictures, so that they go wherever the picture goes."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]


def captioned(
    picture: Pixels, lines: Sequence[str], boxes: Iterable[tuple[float, float, float, float]] = (), scale: int = 1
) -> Pixels:
    """Put lines of text, broken where they are too long, above a picture and boxes into it.

    Args:
        picture: uint8 H × W × 3.
        lines: of text.
        boxes: x, y, width, height in pixels of the picture.
        scale: divides the size of the letters, which otherwise goes by the width.

    Returns:
        uint8 (H + caption) × W × 3.
    """
    letters = max(picture.shape[1] // (27 * scale), 1)
    font = ImageFont.load_default(size=letters)
    lines = [part for line in lines for part in _broken(line, font, picture.shape[1] - letters)]
    top = int(1.4 * letters * len(lines)) + letters
    canvas = Image.new("RGB", (picture.shape[1], picture.shape[0] + top), "white")
    canvas.paste(Image.fromarray(picture), (0, top))
    draw = ImageDraw.Draw(canvas)
    for place, line in enumerate(lines):
        draw.text((letters // 2, letters // 3 + int(1.4 * letters * place)), line, fill="black", font=font)
    for x, y, width, height in boxes:
        draw.rectangle((x, y + top, x + width, y + height + top), outline=(0, 255, 255), width=2)
    return np.asarray(canvas)


def _broken(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> Iterator[str]:
    """Break a line between words, or within a long one, where it fills a width in pixels.

    What can't be printed shows as a question mark.
    """
    part = ""
    for letter in (letter if letter.isprintable() else "?" for letter in line):
        if part and font.getlength(part + letter) > width:
            words, _, last = part.rpartition(" ")
            yield words or part
            part = last if words else ""
        part += letter
    yield part
