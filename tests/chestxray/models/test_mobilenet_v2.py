"""The architecture is cut by the names of its blocks."""

import pytest

from chestxray.models.mobilenet_v2 import blocks_between


def test_an_unknown_block_is_said() -> None:
    with pytest.raises(ValueError, match="no block 'block_99'; it has input, Conv1"):
        blocks_between(1.0, "block_99")
