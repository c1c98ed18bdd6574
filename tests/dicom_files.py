"""DICOM files of every kind that the decoder takes, made here."""

import io
from typing import Any

import gdcm
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

Pixels = npt.NDArray[np.generic]

CR = uid.ComputedRadiographyImageStorage
COMPRESSED_BY_PYDICOM = (
    uid.RLELossless, uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000,
)  # fmt: skip
COMPRESSED_BY_GDCM = (uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_8_BIT = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
NATIVE = (
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)  # fmt: skip
SYNTAXES = (*NATIVE, *COMPRESSED_BY_PYDICOM, *COMPRESSED_BY_GDCM, *JPEG_8_BIT)


def dataset_of(pixels: Pixels, bits: int | None = None, **elements: Any) -> Dataset:
    """A computed radiograph of unsigned or signed values; `elements` override and add."""
    depth = 8 * pixels.dtype.itemsize
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CR, "1.2.3", "CR"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = depth, bits or depth, (bits or depth) - 1
    dataset.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    dataset.PixelData = pixels.tobytes() + bytes(pixels.size * pixels.itemsize % 2)
    dataset["PixelData"].VR = "OW" if depth == 16 else "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def written(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """The file, with preamble; the pixel data must be as the syntax wants them."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CR)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    if uid.UID(syntax).is_encapsulated:
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def dicom(pixels: Pixels, syntax: str = uid.ExplicitVRLittleEndian, bits: int | None = None, **elements: Any) -> bytes:
    """A file of the transfer syntax given."""
    dataset = dataset_of(pixels, bits, **elements)
    if syntax == uid.ExplicitVRBigEndian and pixels.dtype.itemsize == 2:
        dataset.PixelData = pixels.byteswap().tobytes()
    if syntax in COMPRESSED_BY_PYDICOM:
        options = {
            uid.RLELossless: {"encoding_plugin": "pydicom"},
            uid.JPEG2000: {"j2k_cr": [2]},
            uid.JPEGLSNearLossless: {"jls_error": 1},
        }.get(uid.UID(syntax), {})
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(uid.UID(syntax), generate_instance_uid=False, **options)
    elif syntax in COMPRESSED_BY_GDCM:
        dataset.PixelData = encapsulate([_lossless_jpeg(pixels, dataset, syntax)])
    elif syntax in JPEG_8_BIT:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=98)
        dataset.PixelData = encapsulate([stream.getvalue()])
    return written(dataset, syntax)


def _lossless_jpeg(pixels: Pixels, dataset: Dataset, syntax: str) -> bytes:
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(pixels.tobytes())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    depth = (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation)
    image.SetPixelFormat(gdcm.PixelFormat(1, *depth))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(image)
    assert change.Change()
    fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    buffer: str = fragments.GetFragment(0).GetByteValue().GetBuffer()
    return buffer.encode("utf-8", "surrogateescape")
