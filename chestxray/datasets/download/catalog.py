"""List the files of NIH ChestX-ray14: addresses, sizes and digests.

Sources, all of the NIH Clinical Center (https://nihcc.app.box.com/v/ChestXray-NIHCC):
- addresses of the archives: its `batch_download_zips.py` (Box file 371647823217). They answer GET, with ranges, but not
  HEAD;
- MD5 of the archives: its `FAQ_CHESTXRAY.pdf`, question 7 (Box file 249502714403), also in `chestxray14.py` of
  https://github.com/sunlabuiuc/PyHealth;
- sizes of the archives: what the server says in `Content-Range`, as several public repositories record it;
- tables: Box's files by number. NIH publishes no digest of them; these SHA-256 are those that public repositories
  record, computed once more from a copy. The second digest of the main table is that of the copy on mirrors, whose
  header says `Patient Gender` where NIH's says `Patient Sex`; nothing else differs.
"""

import dataclasses
from dataclasses import dataclass

from chestxray.batch_layout import BOXES, NIH_BOXES_SHA256, TABLE, TEST_LIST, TRAIN_LIST
from chestxray.datasets.download.http import RemoteFile

SITE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"

_ARCHIVES = (
    ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", 2_008_470_987, "fe8ed0a6961412fddcbb3603c11b3698"),
    ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", 3_952_623_504, "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
    ("f1t00wrtdk94satdfb9olcolqx20z2jp", 3_929_234_850, "2301d03bde4c246388bad3876965d574"),
    ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", 3_838_903_983, "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
    ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", 3_935_496_531, "1861f3cd0ef7734df8104f2b0309023b"),
    ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", 3_986_301_172, "456b53a8b351afd92a35bc41444c58c8"),
    ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", 4_016_328_426, "1075121ea20a137b87f290d6a4a5965e"),
    ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", 4_018_347_353, "b61f34cec3aa69f295fbb593cbd9d443"),
    ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", 4_111_327_929, "442a3caa61ae9b64e61c561294d1e183"),
    ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", 4_181_556_296, "09ec81c4c31e32858ad8cf965c494b74"),
    ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", 4_187_084_020, "499aefc67207a5a97692424cf5dbeed5"),
    ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", 2_914_187_733, "dc9fda1757c2de0032b63347a7d2895c"),
)
"""Key in the address, bytes and MD5 of each archive."""

_TABLES = (
    (TABLE, 219760887468, 9_003_496, ("c69a6daca3549af707ca9cacbdf9f9a7b6a9188e8c61157df653520bb72d8eb1",
                                      "dc1d2df67fdc1c5a7601d48699cda2b13dc2c4841488b4183dcf04884dbaca11")),
    (BOXES, 219760940956, 92_416, (NIH_BOXES_SHA256,)),
    (TRAIN_LIST, 256056636701, 1_470_907, ("61fbe896321c1c1c8b75f3e4f3a08e4fef6486d95ef8a667c31d4d60dca6cb81",)),
    (TEST_LIST, 256055473534, 435_131, ("38ca5ef7f756092946f57c1a59faca882ed589a1ab1f72590b45dc06c6d5e1cc",)),
)  # fmt: skip
"""Name, Box's number, bytes and the accepted SHA-256 of each table."""

TERMS = f"""\
Cite: Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. "ChestX-ray8: Hospital-scale Chest X-ray Database and
Benchmarks on Weakly-Supervised Classification and Localization of Common Thorax Diseases", IEEE CVPR 2017,
pp. 3462-3471.
Terms: data of the NIH Clinical Center; unrestricted use, with a link to {SITE},
acknowledgement of the NIH Clinical Center and the citation above. The labels are mined from reports by software."""


@dataclass(frozen=True)
class Release:
    """The files of a data set in NIH layout.

    Attributes:
        archives: `.tar.gz` files with members `images/00000001_000.png`.
        tables: `Data_Entry_2017_v2020.csv` first, then boxes and lists.
    """

    archives: tuple[RemoteFile, ...]
    tables: tuple[RemoteFile, ...]

    def mirrored(self, base_url: str) -> "Release":
        """Return the same files, at `<base_url>/<name>`."""

        def at_mirror(files: tuple[RemoteFile, ...]) -> tuple[RemoteFile, ...]:
            return tuple(dataclasses.replace(file, url=f"{base_url.rstrip('/')}/{file.name}") for file in files)

        return Release(at_mirror(self.archives), at_mirror(self.tables))


NIH = Release(
    archives=tuple(
        RemoteFile(
            f"images_{number:03d}.tar.gz", f"https://nihcc.box.com/shared/static/{key}.gz", size, (f"md5:{md5}",)
        )
        for number, (key, size, md5) in enumerate(_ARCHIVES, start=1)
    ),
    tables=tuple(
        RemoteFile(
            name,
            "https://nihcc.app.box.com/index.php?rm=box_download_shared_file"
            f"&vanity_name=ChestXray-NIHCC&file_id=f_{number}",
            size,
            tuple(f"sha256:{digest}" for digest in digests),
        )
        for name, number, size, digests in _TABLES
    ),
)
"""ChestX-ray14: 112,120 images of 30,805 patients, 45.1 GB."""
