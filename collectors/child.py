"""How a child process of a collector is started: with as little as it needs, speaking over its pipes alone."""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).parent)  # the package `collectors`
# What a child does not need costs a third of its start: garbage collection during the imports, the `site` module (the
# path comes from here), all record types (with the package's `__init__`), and what msgspec would import if it is there.
# What a library prints must not come between the answers, so these get a descriptor of their own.
_START = """
import gc, os, sys, types
gc.disable()
root, module, arguments, *sys.path = sys.argv[1:]
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
sys.modules["typing_extensions"] = None
sys.modules["collectors"] = package = types.ModuleType("collectors")
package.__path__ = [root]
from importlib import import_module
import_module(module).main(sys.stdin.buffer, answers, *map(int, arguments.split()))
"""


def command(module: str, *arguments: int) -> list[str]:
    """The command line of a process that calls `main(requests, answers, *arguments)` of `module`: the pipes of its
    standard input and output, in bytes. Garbage collection is off."""
    return [sys.executable, "-S", "-c", _START, _ROOT, module, " ".join(map(str, arguments)), *sys.path]
