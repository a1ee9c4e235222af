"""Bills of any size: DuckDB reads the files in a child process and sends finished lines, a UTC day at a time.

The child (`columnar_child`) gets a limit of memory (spilling to disk beyond it), does not
hold the exporter's interpreter lock, and is gone after the read, with all that the library keeps. Nothing is sent
before every row of every file was read and checked: a delivery that cannot be read changes nothing.

Frames are a length and msgpack: a `Job` in; `Lines` for each day, in order, then `Done`, or `Failed` out.
"""

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from collectors.bill_days import BillDay
from collectors.billing.columnar_frames import BillError, Done, Failed, Format, Job, Lines, received, send
from collectors.billing.cur_columns import Kind
from collectors.child import command


class Reader:
    """A child process that reads deliveries, one after the other. Start it early: it takes a quarter of a second."""

    def __init__(self, memory_bytes: int) -> None:
        """`memory_bytes` is for the whole child process."""
        self._process = subprocess.Popen(
            command("collectors.billing.columnar_child", memory_bytes),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=1 << 20,  # it works some days ahead
            start_new_session=True,  # Ctrl-C is for the exporter, which ends the child itself
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._decode = msgspec.msgpack.Decoder(Lines | Done | Failed).decode

    def read(self, files: Sequence[Path], format_: Format, scratch: Path) -> Iterator[BillDay | Done]:
        """The days of a delivery, in order, then `Done`. Raises `BillError`."""
        try:
            send(self._stdin, Job([str(path) for path in files], format_, str(scratch)))
            yield from days(self._answers())
        except (OSError, EOFError) as error:
            raise BillError(f"the reading process ended (out of memory, or killed): {error}") from error

    def _answers(self) -> Iterator[Lines | Done]:
        while True:
            answer = self._decode(received(self._stdout))
            if isinstance(answer, Failed):
                raise BillError(answer.reason)
            yield answer
            if isinstance(answer, Done):
                return

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        with contextlib.suppress(OSError):  # unsent bytes in the buffer
            self._stdin.close()


def days(answers: Iterable[Lines | Done]) -> Iterator[BillDay | Done]:
    """The answers to one job, days whole."""
    from collectors.billing.cur_kinds import text_of  # while the child reads

    kinds: list[Kind] = []
    texts: list[str] = []
    for answer in answers:
        if isinstance(answer, Lines):
            if answer.anew:
                kinds, texts = [], []
            kinds += answer.new
            texts += map(text_of, answer.new)
            of_day = [texts[number] for number in answer.kinds]
            of_day += [text_of(kinds[number], unused=True) for number in answer.unused]
            yield BillDay(answer.start, of_day, answer.lines, answer.count)
        else:
            yield answer
