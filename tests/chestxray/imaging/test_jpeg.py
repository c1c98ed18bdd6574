"""A JPEG comes out as libjpeg-turbo decodes it, or is refused if any of it is missing."""

import io
import re

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError
from tests.nih_batch import noise

SHADES = np.add.outer(np.arange(120) * 1.3, np.arange(168) * 0.5).astype(np.uint8) // 2 + noise(4, (120, 168)) // 8
GREY = Image.fromarray(SHADES)
COLOUR = Image.merge("RGB", [GREY, Image.fromarray(SHADES[::-1].copy()), Image.fromarray(SHADES[:, ::-1].copy())])
END = b"\xff\xd9"


def jpeg(image: Image.Image = GREY, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, options.pop("kind", "JPEG"), **options)
    return stream.getvalue()


FORMS = {
    "baseline": jpeg(),
    "optimised": jpeg(optimize=True, quality=95),
    "progressive": jpeg(progressive=True),
    "restart markers": jpeg(restart_marker_rows=1),
    "restart markers, progressive": jpeg(restart_marker_blocks=3, progressive=True),
    "4:2:0": jpeg(COLOUR, subsampling=2),
    "4:2:2": jpeg(COLOUR, subsampling=1),
    "4:4:4": jpeg(COLOUR, subsampling=0),
    "colour, progressive": jpeg(COLOUR, progressive=True),
    "RGB, not YCbCr": jpeg(COLOUR, keep_rgb=True),
    "CMYK": jpeg(COLOUR.convert("CMYK")),
    "MPO": jpeg(COLOUR, kind="MPO", save_all=True, append_images=[COLOUR]),
    "EXIF and a profile": jpeg(exif=Image.Exif(), icc_profile=bytes(70_000), comment=b"\xff\xda\xff\xd9"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_comes_out_as_pillow_decodes_it(form: str) -> None:
    expected = np.asarray(Image.open(io.BytesIO(FORMS[form])).convert("L"))
    radiograph = decode(FORMS[form])
    assert np.array_equal(radiograph.pixels, expected)
    assert (radiograph.format, radiograph.bit_depth) == ("JPEG", 8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("end", [b"", END])
def test_a_part_is_refused_with_an_end_marker_and_without(form: str, share: float, end: bytes) -> None:
    frame = re.search(b"\xff[\xc0\xc2]\0", FORMS[form]).start()
    start = FORMS[form].index(b"\xff\xda", frame)
    first = FORMS[form].index(END, start)
    with pytest.raises(RadiographError, match="truncated"):
        decode(FORMS[form][: start + int(share * (first - start))] + end)


@pytest.mark.parametrize("form", [name for name in FORMS if name != "MPO"])
def test_the_end_of_the_coded_data_is_missed(form: str) -> None:
    with pytest.raises(RadiographError, match="truncated"):
        decode(FORMS[form][:-60] + END)


@pytest.mark.parametrize("form", [name for name in FORMS if "progressive" in name])
def test_a_progressive_file_without_its_last_scans_is_refused(form: str) -> None:
    """Nothing of the codestream is amiss, so no decoder complains."""
    scans = [found.start() for found in re.finditer(b"\xff\xda", FORMS[form])]
    assert len(scans) >= 6
    for scan in scans[1:]:
        tables = FORMS[form].rindex(b"\xff\xc4", 0, scan)
        with pytest.raises(RadiographError, match="truncated"):
            decode(FORMS[form][:tables] + END)


@pytest.mark.parametrize("form", FORMS)
def test_what_follows_the_end_does_not_count(form: str) -> None:
    expected = decode(FORMS[form]).pixels
    assert np.array_equal(decode(FORMS[form] + b"\0\xff\xda junk" * 200).pixels, expected)


@pytest.mark.parametrize("form", [name for name in FORMS if name not in ("MPO", "EXIF and a profile")])
def test_all_rows_without_an_end_marker_and_padding_before_it_are_accepted(form: str) -> None:
    expected = decode(FORMS[form]).pixels
    assert np.array_equal(decode(FORMS[form].removesuffix(END)).pixels, expected)
    assert np.array_equal(decode(FORMS[form].removesuffix(END) + bytes(3) + END).pixels, expected)
    assert np.array_equal(decode(FORMS[form].replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1)).pixels, expected)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.data())
def test_a_cut_anywhere_is_refused_or_costs_no_bit(form: str, data: st.DataObject) -> None:
    """But in the last block, of 8 × 8 pixels, or 16 × 16 where a block of colour covers as many."""
    place = data.draw(st.integers(0, len(FORMS[form]) - 1))
    try:
        pixels = decode(FORMS[form][:place] + END).pixels
    except RadiographError:
        return
    wrong = np.argwhere(pixels != decode(FORMS[form]).pixels)
    assert wrong.size == 0 or (wrong >= (104, 144)).all()


@pytest.mark.parametrize("marker", [b"\xff\xc5", b"\xff\xc9", b"\xff\xca"])
def test_arithmetic_and_hierarchical_ones_are_named(marker: bytes) -> None:
    with pytest.raises(RadiographError, match="an arithmetic or hierarchical JPEG; baseline") as raised:
        decode(FORMS["baseline"].replace(b"\xff\xc0", marker))
    assert raised.value.kind == "unsupported-format"


def test_other_depths_and_channels_are_named() -> None:
    frame = FORMS["4:4:4"].index(b"\xff\xc0")
    twelve, two = bytearray(FORMS["4:4:4"]), bytearray(FORMS["4:4:4"])
    twelve[frame + 4], two[frame + 9] = 12, 2
    with pytest.raises(RadiographError, match="of 12 bits; 8, or 2 to 16 of grey"):
        decode(bytes(twelve))
    with pytest.raises(RadiographError, match="of 2 channels; 1, 3 or 4"):
        decode(bytes(two))


@pytest.mark.parametrize("options", [{"bitspersample": 12}, {"lossless": True, "bitspersample": 12, "predictor": 1}])
def test_twelve_bits_are_scaled_without_a_guess(options: dict[str, object]) -> None:
    deep = np.linspace(0, 4095, 64 * 48).astype(np.uint16).reshape(64, 48)
    radiograph = decode(imagecodecs.jpeg8_encode(deep, **options))
    assert np.abs(radiograph.pixels - deep / 4095 * 255).max() <= 1.5
    assert (radiograph.bit_depth, radiograph.checks) == (12, ())


def test_too_many_scans_are_refused_before_they_are_decoded() -> None:
    data = FORMS["progressive"]
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(RadiographError, match="206 scans; up to 100 are accepted"):
        decode(data[:-2] + 200 * scan + END)
