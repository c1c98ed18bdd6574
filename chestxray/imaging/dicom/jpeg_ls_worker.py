"""Decode a JPEG-LS codestream with CharLS, as a process (`python -m`, see `codec_worker`)."""

import jpeg_ls

from chestxray.imaging.dicom.codec_worker import run_codec


def decode_jpeg_ls(data: bytes, rows: int, columns: int) -> bytes:
    """Return the pixels, one byte each up to 8 bits, two above."""
    return bytes(jpeg_ls.decode_pixel_data(data)[0])


if __name__ == "__main__":
    run_codec(decode_jpeg_ls)
