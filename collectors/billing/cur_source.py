"""Where an AWS data export lies: in a bucket, or in a folder that was synced from one.

Files are taken as they were when they were looked at: one that is replaced meanwhile is an error, not a mixture.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from collectors.billing.aws_session import Access, AwsError, client, more_time, translated
from collectors.billing.cur_manifest import MAX_MANIFEST, Item, ManifestError

_CHUNK = 1 << 20


class Source(Protocol):
    """The export's folder. Names are paths below it. What cannot be had is a `ManifestError` or an `AwsError`."""

    def below(self, folder: str) -> list[Item]:
        """Everything below `folder`, however deep."""
        ...

    def look(self, name: str) -> Item: ...

    def read(self, item: Item) -> bytes:
        """The content of a small one."""
        ...

    def fetch(self, item: Item, folder: Path) -> Path:
        """A copy of it in `folder`."""
        ...

    def close(self) -> None: ...


class Bucket:
    """Objects in S3, or whatever answers to its API at `access.endpoint_url`."""

    def __init__(self, access: Access, bucket: str, folder: str) -> None:
        """`folder` ends in a slash."""
        self._client = client("s3", access)
        self._bucket, self._folder = bucket, folder

    def below(self, folder: str) -> list[Item]:
        prefix = self._folder + folder
        with translated("s3:ListBucket", f"s3://{self._bucket}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return [self._item(found["Key"], found, "Size") for page in pages for found in page.get("Contents", ())]

    def look(self, name: str) -> Item:
        key = self._folder + name
        with _there(name), translated("s3:GetObject", self._where(name)):
            return self._item(key, self._client.head_object(Bucket=self._bucket, Key=key), "ContentLength")

    def read(self, item: Item) -> bytes:
        with self._open(item) as body:
            content: bytes = body.read(MAX_MANIFEST + 1)
        if len(content) > MAX_MANIFEST:
            raise ManifestError(f"the manifest is longer than {MAX_MANIFEST >> 20} MB")
        return content

    def fetch(self, item: Item, folder: Path) -> Path:
        path = _own_name(item, folder)
        with self._open(item) as body, path.open("wb") as copy:
            for chunk in body.iter_chunks(_CHUNK):
                copy.write(chunk)
        if path.stat().st_size != item.size:
            raise ManifestError(f"{item.name} was cut off: {path.stat().st_size} of {item.size} bytes")
        return path

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _open(self, item: Item) -> Iterator[Any]:
        with _there(item.name), translated("s3:GetObject", self._where(item.name)):
            key = self._folder + item.name
            body = self._client.get_object(Bucket=self._bucket, Key=key, IfMatch=item.etag)["Body"]
            more_time(item.size)
            with body:
                yield body

    def _where(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._folder}{name}"

    def _item(self, key: str, found: Any, size: str) -> Item:
        name = key.removeprefix(self._folder)
        return Item(name, found["ETag"], found[size], found["LastModified"].timestamp())


class Folder:
    """Files on disk, with the same names."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def below(self, folder: str) -> list[Item]:
        base = self._path / folder
        with _readable(folder):
            return [self.look(str(path.relative_to(self._path))) for path in base.rglob("*") if path.is_file()]

    def look(self, name: str) -> Item:
        with _readable(name):
            status = (self._path / name).stat()
        stamp = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
        return Item(name, stamp, status.st_size, status.st_mtime)

    def read(self, item: Item) -> bytes:
        with _readable(item.name), (self._path / item.name).open("rb") as file:
            return file.read(MAX_MANIFEST)

    def fetch(self, item: Item, folder: Path) -> Path:
        path = _own_name(item, folder)
        with _readable(item.name):
            shutil.copyfile(self._path / item.name, path)
        if self.look(item.name).etag != item.etag:
            raise ManifestError(_replaced(item.name))
        return path

    def close(self) -> None:
        """Nothing is held open."""


def _own_name(item: Item, folder: Path) -> Path:
    """Where a copy goes: data files of two executions may have one name."""
    return folder / item.name.replace("/", "~")


def _replaced(name: str) -> str:
    return f"{name} was replaced while it was read: the next collect reads the new delivery"


@contextmanager
def _there(name: str) -> Iterator[None]:
    """Say what a refusal means for a delivery."""
    try:
        yield
    except AwsError as error:
        if error.kind == "missing":
            raise ManifestError(f"{name} is not there, but the manifest names it: half delivered, or removed") from None
        if error.code in ("PreconditionFailed", "412"):
            raise ManifestError(_replaced(name)) from None
        raise


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ManifestError(f"{name} is not there, but the manifest names it: half delivered, or removed") from None
    except OSError as error:
        raise ManifestError(f"{name} cannot be read ({error.strerror}): check its permissions") from None
