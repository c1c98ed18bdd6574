"""Tell by their names which files of a folder are images, and which ones a system keeps for itself."""

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".jp2", ".j2k", ".j2c", ".jpc", ".jph", ".dcm", ".dicom"
)  # fmt: skip
"""Of the formats that are decoded, in any case; an image may have another suffix, or none."""
HIDDEN = (".", "__MACOSX")
"""How the names of files and folders begin that a system or a program keeps for itself."""
