"""What all tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real NIH images beside the repository; tests that want it are skipped without it."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "nih-sample").is_dir():
        pytest.skip(f"no real NIH images: {folder} is not there")
    return folder
