"""Pages of time buckets, as OpenAI's and Anthropic's admin APIs give them: every bucket once, in its window."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from collectors.records import Window
from collectors.usage.provider_http import ApiError, Params
from collectors.usage.records import MAX_LABEL_LENGTH

MAX_PAGES = 1000

Get = Callable[[str, Params], bytes]
P = TypeVar("P", bound="Page")
R = TypeVar("R")
T = TypeVar("T")


class Page(Protocol):
    """What a page says of the next one."""

    has_more: bool

    @property
    def next(self) -> str | None: ...


class BucketPage(Struct, gc=False):
    """A page of a report, which leads on by a token."""

    has_more: bool = False
    next_page: str | None = None

    @property
    def next(self) -> str | None:
        return self.next_page


class Named(Struct, gc=False):
    """A project, a workspace or a key."""

    id: str
    name: str | None = None


class NamedPage(Struct, gc=False):
    """A page of a list, which goes on after its last id."""

    data: list[Named]
    has_more: bool = False
    last_id: str | None = None

    @property
    def next(self) -> str | None:
        return self.last_id


_named_page = msgspec.json.Decoder(NamedPage)


def named(get: Get, path: str, params: Params, key: str) -> dict[str, str]:
    """Names by id of all that is listed; `key` is the parameter that goes on after an id. Raises ApiError."""
    found = pages(get, path, params, _named_page, key)
    return {one.id: one.name[:MAX_LABEL_LENGTH] for page in found for one in page.data if one.name}


def pages(get: Get, path: str, params: Params, decoder: msgspec.json.Decoder[P], key: str = "page") -> Iterator[P]:
    """All pages of an answer; `key` is the parameter that asks for the next one. Raises ApiError."""
    seen: set[str] = set()
    following: Params = ()
    for _ in range(MAX_PAGES):
        page = decoded(decoder, get(path, [*params, *following]), path)
        yield page
        if not page.has_more:
            return
        if not page.next or page.next in seen:
            raise ApiError(f"{path}: the answer has more pages, but does not lead to a new one")
        seen.add(page.next)
        following = [(key, page.next)]
    raise ApiError(f"{path}: more than {MAX_PAGES} pages")


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, path: str) -> T:
    """The typed answer. Raises ApiError: msgspec names the place of what is wrong and quotes no value."""
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:
        raise ApiError(f"{path}: the answer is not UTF-8") from None
    except msgspec.ValidationError as error:
        raise ApiError(f"{path}: not the documented schema: {error}") from None
    except msgspec.DecodeError as error:
        raise ApiError(f"{path}: not JSON after {len(body)} bytes: {error}") from None


def within(found: Iterable[tuple[Window, R]], asked: Window, width: int, path: str) -> Iterator[tuple[Window, R]]:
    """The buckets, each in `asked` and told once; one that is cut off, as it is not over, is `width` seconds wide all
    the same. ApiError for any other, or none at all: a provider that forgot its buckets must not empty what it said
    before."""
    seen: set[int] = set()
    for bucket, results in found:
        if not 0 < bucket.seconds <= width or bucket.start % width:
            raise ApiError(f"{path}: expected buckets of {width} s, got one of {bucket.seconds} s")
        if not asked.start <= bucket.start < asked.end:
            raise ApiError(f"{path}: a bucket that was not asked for, at {bucket.start}")
        if bucket.start in seen:
            raise ApiError(f"{path}: the bucket at {bucket.start} came twice")
        seen.add(bucket.start)
        yield Window(bucket.start, bucket.start + width), results
    if not seen and asked.seconds >= width:
        raise ApiError(f"{path}: an answer without any bucket")
