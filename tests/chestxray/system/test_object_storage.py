"""Objects are listed, read in bounds and told apart, in the memory of this process as in S3."""

import sys
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from chestxray.errors import UserError
from chestxray.system.object_storage import is_address, list_objects, object_state, read_object


@pytest.fixture
def storage() -> Iterator[Any]:
    storage = fsspec.filesystem("memory")
    storage.pipe({"/ward/b.png": b"12345", "/ward/a/c.png": b"", "/ward/a/[1].png": b"1"})
    yield storage
    storage.rm("/ward", recursive=True)


def test_what_an_address_is() -> None:
    assert all(map(is_address, ["s3://b", "S3://b/a.png", "gs://b/a", "az://c/a", "memory://a"]))
    assert not any(map(is_address, ["s3:/b", "a/s3://b", "file:///etc/passwd", "http://host/a.png", "ward", ""]))


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("memory://ward", ["a/[1].png", "a/c.png", "b.png"]),
        ("memory://ward/a/", ["a/[1].png", "a/c.png"]),
        ("memory://ward/a/[1].png", ["a/[1].png"]),
        ("memory://ward/*.png", ["b.png"]),
        ("memory://ward/**/*.png", ["a/[1].png", "a/c.png", "b.png"]),
        ("memory://ward/d", []),
    ],
)
def test_a_folder_and_a_pattern_name_objects(address: str, names: list[str], storage: Any) -> None:
    assert [name.replace("///", "//").removeprefix("memory://ward/") for name in list_objects(address)] == names


def test_a_name_with_two_colons_is_that_of_one_object(storage: Any) -> None:
    storage.pipe({"/ward/d": b"other", "/ward/d::e.png": b"it"})
    (name,) = [name for name in list_objects("memory://ward") if "::" in name]
    size, _ = object_state(name) or (0, "")
    assert read_object(name, 5) == b"it" and size == 2


def test_a_driver_that_can_not_be_set_up_is_a_line(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        raise ValueError("Must provide either a connection_string or account_name")

    monkeypatch.setattr(type(storage), "__init__", refuse)
    type(storage).clear_instance_cache()
    with pytest.raises(UserError, match=r"memory://ward: the storage can't be used \(ValueError\): see to address"):
        read_object("memory://ward/b.png", 5)
    monkeypatch.undo()


def test_a_refusal_of_the_credentials_is_none_of_the_object(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        cause = Exception()
        cause.response = {"Error": {"Code": code}}  # type: ignore[attr-defined] # as botocore's ClientError
        raise PermissionError("refused") from cause

    monkeypatch.setattr(type(storage), "cat_file", refuse)
    for code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
        with pytest.raises(UserError, match=rf"can't be used \({code}\)"):
            read_object("memory://ward/b.png", 5)
    code = "AccessDenied"
    with pytest.raises(PermissionError, match=r"memory://ward/b\.png"):
        read_object("memory://ward/b.png", 5)


def test_a_bucket_is_no_object() -> None:
    with pytest.raises(IsADirectoryError, match="the address of a bucket"):
        read_object("s3://bucket/", 5)


def test_objects_are_listed_under_the_scheme_that_was_given(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        type(storage), "unstrip_protocol", lambda _, path: f"abfs://{path.lstrip('/')}"
    )  # as adlfs does
    assert list_objects("memory://ward/a") == ["memory://ward/a/[1].png", "memory://ward/a/c.png"]


def test_no_more_is_read_than_is_accepted(storage: Any) -> None:
    assert read_object("memory://ward/b.png", 5) == b"12345"
    assert read_object("memory://ward/b.png", 4, whole=False) == b"1234"
    assert read_object("memory://ward/a/c.png", 4) == b""
    with pytest.raises(OSError, match="larger than the 4 bytes"):
        read_object("memory://ward/b.png", 4)


def test_an_object_that_changed_has_another_state(storage: Any) -> None:
    before = object_state("memory://ward/b.png")
    assert before == object_state("memory://ward/b.png")
    storage.pipe("/ward/b.png", b"54321")
    assert object_state("memory://ward/b.png") != before
    assert object_state("memory://ward/none") is None


def test_a_missing_object_is_no_file_and_a_missing_storage_is_said(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="memory://ward/none"):
        read_object("memory://ward/none", 5)
    monkeypatch.setattr(storage, "cat_file", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match=r"^memory://ward: the storage can't be used \(ZeroDivisionError\)"):
        read_object("memory://ward/b.png", 5)


@pytest.mark.parametrize(("address", "name"), [("s3://b/a.png", "s3fs"), ("gs://b/a.png", "gcsfs")])
def test_a_missing_package_is_named(address: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    known = sys.modules["fsspec.registry"]._registry
    monkeypatch.delitem(known, address.partition(":")[0], raising=False)  # imported before
    with pytest.raises(UserError, match=f"needs the package {name}"):
        read_object(address, 5)
