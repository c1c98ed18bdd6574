"""Build a small release in NIH layout: archives and tables, and a server that has them."""

import hashlib
import io
import random
import tarfile

from chestxray.batch_layout import BOXES, HEADER, TABLE, TEST_LIST, TRAIN_LIST
from chestxray.datasets.download.catalog import Release
from chestxray.datasets.download.http import RemoteFile
from tests.chestxray.loopback import Loopback

PATIENTS = {
    f"{patient:08d}_{visit:03d}.png": str(patient) for patient in range(1, 13) for visit in range(patient % 4 + 1)
}
IMAGES = {image: random.Random(image).randbytes(5000) for image in PATIENTS}
TEST_PATIENTS = {"2", "3", "11"}
ARCHIVES = ("images_001.tar.gz", "images_002.tar.gz", "images_003.tar.gz")


def member(name: str, content: bytes = b"", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in changes.items():
        setattr(info, field, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(member("images", type=tarfile.DIRTYPE)[0])
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def official_files() -> dict[str, bytes]:
    rows = [
        f"{image},{'Mass' if patient == '4' else 'No Finding'},0,{patient},57,M,PA,9,9,0.1,0.1"
        for image, patient in PATIENTS.items()
    ]
    names = sorted(PATIENTS)
    third = -(-len(names) // 3)
    return {
        TABLE: "\r\n".join([HEADER, *rows, ""]).encode(),
        BOXES: f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{names[0]},Mass,1,2,3,4\n".encode(),
        TRAIN_LIST: "\n".join(name for name in names if PATIENTS[name] not in TEST_PATIENTS).encode(),
        TEST_LIST: "\n".join(name for name in names if PATIENTS[name] in TEST_PATIENTS).encode(),
    } | {
        name: archive(*(member(f"images/{image}", IMAGES[image]) for image in names[third * i : third * (i + 1)]))
        for i, name in enumerate(ARCHIVES)
    }  # fmt: skip


def remote(server: Loopback, name: str) -> RemoteFile:
    content = server.files[name]
    return RemoteFile(name, f"{server.url}/{name}", len(content), (f"sha256:{hashlib.sha256(content).hexdigest()}",))


def release(server: Loopback) -> Release:
    tables = (TABLE, BOXES, TRAIN_LIST, TEST_LIST)
    return Release(tuple(remote(server, name) for name in ARCHIVES), tuple(remote(server, name) for name in tables))


NAME = "images/00000001_000.png"
HOSTILE = {
    "parent": [member("images/../../escaped.png", b"x")],
    "parent of an image": [member("../images/00000001_000.png", b"x")],
    "absolute": [member("/tmp/00000001_000.png", b"x")],  # noqa: S108 - a name that must not be used
    "other name": [member("images/.bashrc", b"x")],
    "other folder": [member("00000001_000.png", b"x")],
    "newline": [member("images/00000001_000.png\n", b"x")],
    "not ascii digits": [member("images/0000000\N{ARABIC-INDIC DIGIT ONE}_000.png", b"x")],
    "symlink": [member(NAME, type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "symlinked folder": [member("images", type=tarfile.SYMTYPE, linkname="/tmp")],  # noqa: S108 - as above
    "hardlink": [member(NAME, type=tarfile.LNKTYPE, linkname="/etc/passwd")],
    "character device": [member(NAME, type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "block device": [member(NAME, type=tarfile.BLKTYPE)],
    "fifo": [member(NAME, type=tarfile.FIFOTYPE)],
    "folder named as an image": [member(NAME, type=tarfile.DIRTYPE)],
    "renamed by extended header": [member("x", b"20 path=../../x.png\n", type=tarfile.XHDTYPE), member(NAME, b"x")],
    "twice": [member(NAME, b"x"), member(NAME, b"y")],
}
