"""Calls aside: results, errors and deaths of the child, seen from the parent."""

import os
import subprocess
import sys
from decimal import Decimal

import pytest

from exporter.aside import call_aside
from exporter.prices.book import PriceKey

HERE = __name__


class NamedError(ValueError):
    """Carries more than a message, in the way the config's errors do."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason


def echo(*values: object) -> object:
    sys.stdout.write("noise on stdout")
    os.write(1, b"noise below Python")
    return values


def fail(kind: type[BaseException], *args: object) -> None:
    raise kind(*args)


def die() -> None:
    os._exit(3)


def sleep() -> None:
    import time

    time.sleep(60)


def pid() -> int:
    return os.getpid()


def test_brings_the_result_back_and_nothing_that_was_printed() -> None:
    key = PriceKey("acme", "writer-7b")
    assert call_aside(f"{HERE}:echo", key, Decimal("0.10")) == (key, Decimal("0.10"))


def test_runs_in_another_process() -> None:
    assert call_aside(f"{HERE}:pid") != os.getpid()


def test_an_error_comes_back_as_its_own_type() -> None:
    with pytest.raises(FileNotFoundError, match=r"prices\.yaml"):
        call_aside(f"{HERE}:fail", FileNotFoundError, 2, "No such file", "prices.yaml")
    with pytest.raises(KeyError):
        call_aside(f"{HERE}:fail", KeyError, "x")


def test_an_error_of_a_library_comes_back_as_the_builtin_it_is() -> None:
    with pytest.raises(ValueError, match="storage") as caught:
        call_aside(f"{HERE}:fail", NamedError, "storage", "bad")
    assert type(caught.value) is ValueError


def test_any_other_error_names_the_function_and_the_last_line() -> None:
    with pytest.raises(RuntimeError, match=r"test_aside:fail failed .*ZeroDivisionError: by zero"):
        call_aside(f"{HERE}:fail", ZeroDivisionError, "by zero")
    with pytest.raises(RuntimeError, match=r"exit status 3\): no message"):
        call_aside(f"{HERE}:die")
    with pytest.raises(RuntimeError, match="ModuleNotFoundError"):
        call_aside("exporter.no_such_module:f")


def test_a_child_that_takes_too_long_is_ended() -> None:
    with pytest.raises(RuntimeError, match=r"longer than 0.5 s"):
        call_aside(f"{HERE}:sleep", timeout=0.5)


def test_resolving_prices_loads_no_library_into_the_caller() -> None:
    code = (
        "import sys\n"
        "from exporter.aside import call_aside\n"
        "from exporter.prices.book import PriceKey\n"
        "key = PriceKey('openai', 'gpt-4o')\n"
        "rates = call_aside('exporter.prices.resolve:resolve', [key])\n"
        "assert rates[key], 'known'\n"
        "print([m for m in ('pydantic', 'yaml', 'genai_prices') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
