"""The official files: addresses, sizes and digests."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from chestxray.batch_layout import TABLE
from chestxray.datasets.download.catalog import NIH
from chestxray.datasets.download.http import is_intact
from chestxray.datasets.download.nih_batch import bring_nih
from tests.repository import SHARED


def test_the_release_is_whole() -> None:
    assert len(NIH.archives) == 12
    assert sum(file.size for file in NIH.archives) == 45_079_862_784
    assert len({file.digests for file in NIH.archives}) == 12
    assert all(file.url.startswith("https://nihcc.") for file in (*NIH.archives, *NIH.tables))
    assert NIH.mirrored("http://mirror/x").archives[11].url == "http://mirror/x/images_012.tar.gz"


@pytest.mark.skipif(not (SHARED / "nih-tables").is_dir(), reason="the official tables are not at ../shared/nih-tables")
def test_the_official_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in NIH.tables:
        assert is_intact(SHARED / "nih-tables" / table.name, table)
    of_nih = tmp_path / TABLE
    of_nih.write_bytes((SHARED / "nih-tables" / TABLE).read_bytes().replace(b"Patient Gender", b"Patient Sex", 1))
    assert is_intact(of_nih, NIH.tables[0])
    assert of_nih.stat().st_size == NIH.tables[0].size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=7.2e9))
    with pytest.raises(ValueError, match=r"too little disk.*7\.8 GB needed"):
        bring_nih(tmp_path / "nih", 8000, tables=SHARED / "nih-tables")
