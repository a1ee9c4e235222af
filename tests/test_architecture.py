"""The import law: what may import what, and who may read the clock. Read off the syntax tree, branches included."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.kinds import COLLECTORS

ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("collectors", "exporter")
    for path in sorted((ROOT / package).rglob("*.py"))
}

# Values in, values out. A name stands for a module or for a package with all in it.
PURE = (
    "collectors.gpu_names",
    "collectors.kinds",
    "collectors.records",
    "collectors.slots",
    "collectors.terms",
    "exporter.breakeven",
    "exporter.intervals",
    "exporter.ledger.snapshot",
    "exporter.prices.book",
    "exporter.prices.node_parts",
    "exporter.prices.node_tables",  # reads its package's own tables, which never change
    "exporter.prices.nodes",
    "exporter.prices.pricing",
    "exporter.reconcile",
)
VALUES = ("collectors.settings", "exporter.config")  # what pure code may import of the project beside PURE
# fmt: off
IMPURE_STDLIB = {
    "asyncio", "concurrent", "ctypes", "fcntl", "glob", "gzip", "http", "io", "logging", "mmap", "multiprocessing",
    "os", "pathlib", "queue", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3",
    "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uuid", "zipfile",
}
# fmt: on

# The time of day. A stopwatch (time.monotonic) may bound a timeout wherever there is I/O; pure code imports no `time`.
CLOCK_AND_ENVIRONMENT = {
    "time.time",
    "time.time_ns",
    *(f"time.{name}" for name in ("ctime", "gmtime", "localtime", "strftime")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
    "os.environ",
    "os.environb",
    "os.getenv",
}
MAY_READ_THEM = ("exporter.service", "exporter.__main__", "exporter.commands", "exporter.demo")

VENDOR_SDKS = {
    "_duckdb",
    "anthropic",
    "azure",
    "boto3",
    "duckdb",
    "genai_prices",
    "google",
    "kubernetes",
    "openai",
    "psycopg",
}
SDK_PACKAGES = VENDOR_SDKS | {"botocore", "grpc"}

# What a sidecar must not hold in memory, and the modules it starts with. What these import only when it is needed (in a
# child process, or for a page that somebody opens) does not count.
HEAVY = {"boto3", "duckdb", "genai_prices", "google", "httpx", "httpx2", "jinja2", "kubernetes", "pydantic", "yaml"}
SIDECAR = ("collectors", "exporter.__main__", "exporter.commands", "exporter.service")

# Where the exporter may write the name of a kind. Elsewhere it asks for a trait (`collectors.kinds`, or what the
# settings say), so that a further kind is one file and one line.
KINDS_NAMED = {
    "exporter.commands.serve": {"vllm", "rate_card"},  # what its options stand for: a config of these two
    "exporter.demo.streams": {"vllm", "openai"},  # providers, as the demo's records name them
    "exporter.prices.names": {"openai"},  # a provider, by other names of it
    # Rent is told by the config, and read from no source: a concept of its own.
    "exporter.commands.ledger_warnings": {"rate_card"},
    "exporter.pipeline": {"rate_card"},
    "exporter.service": {"rate_card"},
}


def within(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def imports(tree: ast.AST) -> Iterator[str]:
    """Every imported module in full: `from a import b` is a.b if that is a module of the project, else a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "relative imports are not used here"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in FILES else node.module for name in names)


def libraries(tree: ast.AST) -> set[str]:
    """The top-level names of what is imported from outside the project."""
    return {name.partition(".")[0] for name in imports(tree)} - {"collectors", "exporter"}


def clock_reads(tree: ast.AST) -> set[str]:
    """Uses of the clock and the environment, by whatever name they were imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})

    def full(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{full(node.value)}.{node.attr}"
        return names.get(node.id, "") if isinstance(node, ast.Name) else ""

    return {full(node) for node in ast.walk(tree)} & CLOCK_AND_ENVIRONMENT


def sdks_of(node: ast.AST) -> set[str]:
    """The SDKs that a node imports, by a statement or by name."""
    by_name = isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module"
    if by_name and isinstance(node.args[0], ast.Constant):
        return {str(node.args[0].value).partition(".")[0]} & SDK_PACKAGES
    return libraries(node) & SDK_PACKAGES if isinstance(node, ast.Import | ast.ImportFrom) else set()


TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in FILES.items()}
every_module = pytest.mark.parametrize("module", TREES)


def test_collectors_never_import_the_exporter() -> None:
    collectors = {module: tree for module, tree in TREES.items() if within(module, ("collectors",))}
    assert not [m for m, tree in collectors.items() for used in imports(tree) if within(used, ("exporter",))]


@pytest.mark.parametrize("module", [module for module in TREES if within(module, PURE)])
def test_pure_code_imports_no_io_and_no_library(module: str) -> None:
    ours = {name for name in imports(TREES[module]) if within(name, ("collectors", "exporter"))}
    assert {name for name in ours if not within(name, PURE + VALUES)} == set()
    assert libraries(TREES[module]) <= sys.stdlib_module_names - IMPURE_STDLIB


@pytest.mark.parametrize("module", [module for module in TREES if not within(module, MAY_READ_THEM)])
def test_the_clock_and_the_environment_are_read_at_the_edge_only(module: str) -> None:
    assert not clock_reads(TREES[module])


@every_module
def test_one_vendor_sdk_per_file(module: str) -> None:
    assert len(libraries(TREES[module]) & VENDOR_SDKS) <= 1


@pytest.mark.parametrize("module", [m for m in TREES if within(m, ("exporter",))])
def test_the_exporter_knows_kinds_by_their_traits(module: str) -> None:
    constants = {node.value for node in ast.walk(TREES[module]) if isinstance(node, ast.Constant)}
    assert constants & COLLECTORS.keys() == KINDS_NAMED.get(module, set())


@pytest.mark.parametrize("module", [m for m in TREES if within(m, ("collectors",))])
def test_sdks_are_imported_one_at_a_time(module: str) -> None:
    guarded = {
        inner
        for block in ast.walk(TREES[module])
        if isinstance(block, ast.With) and any(ast.unparse(item) == "importing()" for item in block.items)
        for inner in ast.walk(block)
    }
    bare = [node.lineno for node in ast.walk(TREES[module]) if sdks_of(node) and node not in guarded]
    assert not bare, f"{FILES[module]}, lines {bare}: import SDKs within `importing()`"


def test_a_sidecar_loads_no_heavy_library() -> None:
    """Importing each module a sidecar may run, one after the other, in a fresh interpreter."""
    modules = [module for module in TREES if within(module, SIDECAR)]
    script = f"""
import importlib, sys
seen = set()
for module in {modules!r}:
    importlib.import_module(module)
    for heavy in sorted({HEAVY!r} & set(sys.modules) - seen):
        seen.add(heavy)
        print(f"{{module}} imports {{heavy}}")
"""
    child = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
    assert child.stdout == ""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.time()", {"time.time"}),
        ("from time import time_ns as tick\ntick()", {"time.time_ns"}),
        ("from time import monotonic\nmonotonic()", set()),
        ("from datetime import datetime, UTC\ndatetime.now(UTC)", {"datetime.datetime.now"}),
        ("import datetime as dt\nx = dt.datetime.now", {"datetime.datetime.now"}),
        ("def f():\n    import os\n    return os.environ['HOME']", {"os.environ"}),
        ("from os import getenv\ngetenv('HOME')", {"os.getenv"}),
        ("from datetime import datetime\ndatetime.fromtimestamp(0)", set()),
        ("import os\nos.fdopen(1)\nself.time.time()", set()),
    ],
)
def test_the_law_sees_through_aliases(source: str, found: set[str]) -> None:
    assert clock_reads(ast.parse(source)) == found
