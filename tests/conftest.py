"""What all tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.repository import SHARED

# The same examples every time, and as much time as a busy machine needs.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real NIH images beside the repository; tests that want it are skipped without it."""
    if not (SHARED / "nih-sample").is_dir():
        pytest.skip(f"no real NIH images: {SHARED} is not there")
    return SHARED
