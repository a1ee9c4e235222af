"""Run a function of this project in a child process and bring only its result back.

What is needed once (validating a config, resolving prices) needs libraries that would stay in the memory of a running
exporter for good: pydantic, PyYAML and genai-prices together take about as much as the rest of a sidecar.
"""

import os
import pickle
import subprocess
import sys
from importlib import import_module
from typing import Any

# The child gets this process's import path first: it must find the same packages, and nothing else of the working
# directory (-P), before it can unpickle arguments of the project's own types.
_CHILD = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from exporter.aside import main; main()"


def call_aside(function: str, *args: Any, timeout: float = 60) -> Any:
    """The result of `function` ("package.module:name") called with `args` in a child process.

    Arguments and result cross by pickle; a result must consist of plain values and the project's own types, or it
    would load here what the child was to keep away. A ValueError, LookupError or OSError of the function (and any
    subclass) is raised here as the same type. Everything else, and a child that dies or takes longer than `timeout`
    seconds, is a RuntimeError with the last line the child wrote to stderr.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=pickle.dumps(sys.path) + pickle.dumps((function, args)),
            capture_output=True,
            timeout=timeout,
            check=False,
            start_new_session=True,  # Ctrl-C is for the exporter, which ends the child itself
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{function} took longer than {timeout:g} s in its child process") from None
    if child.returncode != 0:
        lines = child.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise RuntimeError(f"{function} failed in its child process (exit status {child.returncode}): {lines[-1]}")
    result, error = pickle.loads(child.stdout)
    if error is not None:
        raise error
    return result


def main() -> None:
    """The child: one call from stdin, its outcome to stdout. What the function prints goes to stderr."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    function, args = pickle.load(sys.stdin.buffer)
    with answer:
        answer.write(_outcome(function, args))


def _outcome(function: str, args: tuple[Any, ...]) -> bytes:
    module, _, name = function.partition(":")
    target = getattr(import_module(module), name)
    try:
        return pickle.dumps((target(*args), None))
    except (ValueError, LookupError, OSError) as error:
        return _picklable(error)


def _picklable(error: ValueError | LookupError | OSError) -> bytes:
    """The error as it is if it survives the crossing and needs no library there, else as the nearest builtin."""
    if type(error).__module__.partition(".")[0] in ("builtins", "exporter", "collectors"):
        dumped = pickle.dumps((None, error))
        try:
            pickle.loads(dumped)
        except TypeError:  # an __init__ with other parameters than `args`
            pass
        else:
            return dumped
    kind = next(base for base in (ValueError, LookupError, OSError) if isinstance(error, base))
    return pickle.dumps((None, kind(str(error))))
