"""What the exporter and the process that reads a bill say to each other: a length and msgpack."""

import struct
from typing import IO, Literal

import msgspec

from collectors.billing.cur_columns import Kind

_LENGTH = struct.Struct("<Q")

Format = Literal["csv", "parquet"]


class BillError(Exception):
    """Files that cannot be read as a bill, or a child process that ended: one line for the on-call engineer."""


class Job(msgspec.Struct, tag=True):
    """Files of one delivery, all of one format; `scratch` is a folder to spill to."""

    files: list[str]
    format: Format
    scratch: str


class Lines(msgspec.Struct, tag=True):
    """A `collectors.bill_days.BillDay` as it is sent. `new` kinds continue those of the days before, or, if `anew`,
    begin again; `kinds` are the numbers of the day's, followed by those of the `unused` part of kinds."""

    start: int
    anew: bool
    new: list[Kind]
    kinds: list[int]
    unused: list[int]
    lines: str
    count: int


class Done(msgspec.Struct, tag=True):
    """The end of the bill. `flags` are numbers of rows by what is doubtful about them."""

    flags: dict[str, int]


class Failed(msgspec.Struct, tag=True):
    reason: str


def send(pipe: IO[bytes], message: msgspec.Struct) -> None:
    payload = msgspec.msgpack.encode(message)
    pipe.write(_LENGTH.pack(len(payload)) + payload)
    pipe.flush()


def received(pipe: IO[bytes]) -> bytes:
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError("end of stream")
    (length,) = _LENGTH.unpack(header)
    payload = pipe.read(length)
    if len(payload) < length:
        raise EOFError("end of stream inside a message")
    return payload
