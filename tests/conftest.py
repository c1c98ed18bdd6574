"""What all tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, and as much time as a busy machine needs.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real NIH images beside the repository; tests that want it are skipped without it."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "nih-sample").is_dir():
        pytest.skip(f"no real NIH images: {folder} is not there")
    return folder
