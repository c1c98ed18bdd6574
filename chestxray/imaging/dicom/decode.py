"""Decode a DICOM file of one projection radiograph (CR, DX, or a secondary capture of one) to grey pixels.

One step a module: `header` reads the file up to its pixels, `description` makes numbers and words of its elements,
`pixel_data` decodes the pixels to stored values, `frame` if they are compressed, `grayscale` or
`colour` turns stored values into grey levels, and `projection` checks what was pictured. The file is not trusted:
sizes are checked before a pixel is decoded, no more elements are read than any real file has, and no text of it is
ever shown (see docs/decisions/untrusted-images.md).
"""

from chestxray.imaging.dicom.colour import grey_of_colours
from chestxray.imaging.dicom.description import check_described
from chestxray.imaging.dicom.grayscale import grey_levels
from chestxray.imaging.dicom.header import DicomFile, read_file
from chestxray.imaging.dicom.pixel_data import kept_bits, overflow_checks, raw_values
from chestxray.imaging.dicom.projection import header_checks, orientation_of, upright, view_of
from chestxray.imaging.radiograph import Check, Pixels, Radiograph


def decode_dicom(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a DICOM file (PS3.10) to 8-bit grey.

    Grey levels are those that a viewer shows at first: modality LUT or rescale, then the first VOI LUT or window,
    then MONOCHROME1 inverted (`chestxray.imaging.dicom.grayscale`). Images that are mirrored or upside down by
    PatientOrientation are turned. What is doubtful is in the checks of the result, also another part of the body.

    Args:
        data: the whole file, from its preamble, which is not looked at, from its meta header or from its data set on.
        max_pixels: the most pixels to accept.

    Raises:
        RadiographError: no radiograph of one grey frame, too many pixels, a transfer syntax that is not supported.
        MemoryError, OSError, subprocess.TimeoutExpired: the machine failed, the file may be good.
        Exception: of any kind, from pydicom and the codecs, for a damaged file.
    """
    file = read_file(data)
    check_described(file.elements, max_pixels)
    pixels, doubts = _shown(file)
    shown = pixels
    pixels, turns = upright(shown, file.elements)
    checks = (*file.checks, *doubts, *header_checks(file.elements), *turns)
    bits, view, orientation = file.elements.BitsStored, view_of(file.elements), orientation_of(file.elements)
    return Radiograph(pixels, "DICOM", bits, view, orientation, checks, turned=pixels is not shown)


def _shown(file: DicomFile) -> tuple[Pixels, tuple[Check, ...]]:
    """Return the grey levels that a viewer shows, and what is doubtful of them."""
    elements, raw = file.elements, raw_values(file)
    overflow = overflow_checks(raw, elements)
    values = kept_bits(raw, elements)
    if file.samples == 1:
        pixels, doubts = grey_levels(values, elements)
        return pixels, (*overflow, *doubts)
    return grey_of_colours(values, elements.PhotometricInterpretation, elements.BitsStored), overflow
