"""List and read objects of S3, Google and Azure storage by their addresses, such as `s3://bucket/folder/a.png`."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chestxray.errors import UserError, masked

SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "memory")
"""What holds objects by name and size, and sends a part of one; the last one is the memory of this process."""
ADDRESS = re.compile(rf"({'|'.join(SCHEMES)})://", re.IGNORECASE)


FORBIDDEN = ("AccessDenied", "403", "InvalidObjectState")
"""What S3 says of an object that may not be read; other codes of a refusal are about the credentials."""
OPTIONS = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 20, "retries": {"max_attempts": 0}}}
"""Of S3, in seconds: s3fs tries five times, so that a storage that hangs ends a run within four minutes."""


def is_address(path: str) -> bool:
    """Return whether a path is the address of an object, or of a folder of objects."""
    return ADDRESS.match(path) is not None


def list_objects(address: str) -> list[str]:
    """Return the addresses that an address means, sorted: its own, of all below it, or of those that match a pattern.

    Raises:
        OSError: it may not be listed.
        UserError: the storage can't be used.
    """
    storage, path = _storage(address)
    with _named(address):
        if storage.isfile(path):
            return [address]
        found = storage.find(path, detail=True) or storage.glob(path, detail=True)
        objects = (each for each, facts in found.items() if facts["type"] == "file" and not each.endswith("/"))
        scheme, _, _ = address.partition("://")  # a driver of several schemes would name its own favourite
        return sorted(f"{scheme}://{storage.unstrip_protocol(each).partition('://')[2]}" for each in objects)


def read_object(address: str, limit: int, *, whole: bool = True) -> bytes:
    """Read an object.

    Args:
        address: of it.
        limit: bytes that are read at most.
        whole: whether a larger one is an error.

    Raises:
        OSError: there is none, it may not be read, or it has more bytes than that (EFBIG).
        UserError: the storage can't be used, which another time may be otherwise.
    """
    if "/" not in address.partition("://")[2].strip("/"):
        raise IsADirectoryError(errno.EISDIR, "the address of a bucket, not of an object", address)
    storage, path = _storage(address)
    with _named(address):
        data = _beginning(storage, path, limit + whole)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"object larger than the {limit:,} bytes that are accepted", address)
    return data


def _beginning(storage: Any, path: str, count: int) -> bytes:
    try:
        data: bytes = storage.cat_file(path, start=0, end=count)
    except OSError:  # S3 has no part of an empty object
        if storage.size(path):
            raise
        return b""
    return data


def object_state(address: str) -> tuple[int, str] | None:
    """Return size and version of an object, by which one can tell whether it has changed; None if there is none.

    Raises:
        UserError: the storage can't be used.
    """
    storage, path = _storage(address)
    try:
        with _named(address):
            facts = storage.info(path)
    except OSError:
        return None
    version = next((facts[name] for name in ("ETag", "etag", "mtime", "LastModified", "created") if name in facts), "")
    return int(facts["size"]), str(version)


def _storage(address: str) -> tuple[Any, str]:
    """Return what reads an address, made once a process, and the path within it.

    Not by fsspec's `url_to_fs`, which takes `::` in a name for two addresses, and reads another object.

    Raises:
        UserError: what reads it is not installed, or can't be set up.
    """
    scheme = address.partition(":")[0].lower()
    address = scheme + address[len(scheme) :]
    try:
        import fsspec  # noqa: PLC0415 # a plain install has none

        driver = fsspec.get_filesystem_class(scheme)
        with _named(address):
            options = OPTIONS if scheme == "s3" else {}
            return driver(**options, **driver._get_kwargs_from_urls(address)), driver._strip_protocol(address)
    except ImportError as error:
        extra = "pip install '.[s3]' in the repository" if scheme.startswith("s3") else "install it"
        needed = re.search(r"[Ii]nstall (?:the )?[`'\"]?([\w-]+)", str(error))
        name = (error.name or "").partition(".")[0] or (needed[1] if needed else "an fsspec driver")
        raise UserError(f"{scheme}:// needs the package {name}: {extra}") from None


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Tell an object that can't be read, an OSError as of a file, from a storage that can't be used at this time."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address) from None
    except PermissionError as error:
        code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", FORBIDDEN[0])
        if code in FORBIDDEN:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), address) from None
        raise _unusable(address, code) from error
    except ImportError:  # of what reads it
        raise
    except Exception as error:  # each storage has a class for each way to fail
        raise _unusable(address, type(error).__name__) from error


def _unusable(address: str, why: str) -> UserError:
    bucket = "/".join(address.split("/")[:3])
    return UserError(
        f"{masked(bucket)}: the storage can't be used ({why}): see to address, credentials and network, then run the "
        "same again"
    )
