"""Runs the steps of a Dockerfile in a directory that stands for the image's root, without a container engine.

Absolute paths in a step are put under that directory. All stages use it in turn under the same name, so that what was
installed in one runs in the next, and a later stage sees of an earlier one only what it copies. What the directory does
not isolate: the base image is this machine's Python, its libraries and its network.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

UID = 65532


@dataclass(slots=True)
class Stage:
    """One stage: its name, and its instructions in order as (keyword, rest of the line)."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, keyword: str) -> str:
        """What follows the last `keyword`."""
        return [rest for each, rest in self.steps if each == keyword][-1]


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile; what comes before the first FROM is left out."""
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.M).replace("\\\n", " ").splitlines()
    found: list[Stage] = []
    for keyword, _, rest in (line.strip().partition(" ") for line in lines if line.strip()):
        if keyword == "FROM":
            found.append(Stage(rest.partition(" AS ")[2]))
        elif found:
            found[-1].steps.append((keyword, rest.strip()))
    return found


def assignments(rest: str) -> dict[str, str]:
    """The pairs of an ENV or LABEL."""
    return dict(word.partition("=")[::2] for word in shlex.split(rest))


def exec_form(rest: str) -> list[str]:
    """The arguments of an instruction in exec form."""
    read: list[str] = json.loads(rest[rest.index("[") :])
    return read


class Builder:
    """Builds the stages of one Dockerfile, one after the other. `python` is what the base image calls python."""

    def __init__(self, context: Path, directory: Path, python: str) -> None:
        self.root = directory / "root"
        self.env: dict[str, str] = {}
        self.workdir = "/"
        self._context, self._directory = context, directory
        self._ignored = (context / ".dockerignore").read_text().splitlines()
        programs = directory / "programs"
        programs.mkdir()
        shim = programs / "python"  # not a link: an environment made through one would look for its library here
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n')
        shim.chmod(0o755)
        self._path = f"{programs}:/usr/bin:/bin"

    def build(self, stage: Stage) -> None:
        """Run every step of `stage` in an empty root. An unknown instruction is a KeyError."""
        self.env, self.workdir = {"PATH": self._path}, "/"
        self.root.mkdir()
        for keyword, rest in stage.steps:
            _STEPS[keyword](self, rest)

    def keep(self, stage: Stage) -> None:
        """Move what was built aside, so that the next stage begins with an empty root."""
        self.root.rename(self._directory / f"stage-{stage.name}")

    def start(self, *command: str, user: int | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in what was built, with its environment and in its working directory."""
        return subprocess.run(
            command,
            cwd=self._inside(self.workdir),
            env={**self.env, "LC_ALL": "C.UTF-8", **env},
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
            timeout=120,
        )

    def _inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _set_env(self, rest: str) -> None:
        for name, value in assignments(rest).items():
            value = re.sub(r"(?<![\w.}])/opt\b", f"{self.root}/opt", value)
            self.env[name] = value.replace("${PATH}", self.env["PATH"])

    def _change_workdir(self, rest: str) -> None:
        self.workdir = rest
        self._inside(rest).mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        *words, target = rest.split()
        stage = words.pop(0).partition("=")[2] if words[0].startswith("--from=") else ""
        into = self._inside(os.path.join(self.workdir, target))  # noqa: PTH118  # joins paths of the image
        for word in words:
            source = self._directory / f"stage-{stage}" / word.lstrip("/") if stage else self._of_context(word)
            if source.is_dir():
                shutil.copytree(source, into, symlinks=True, ignore=None if stage else self._left_out)
            else:
                into.mkdir(parents=True, exist_ok=True)  # the Dockerfile copies files into directories only
                shutil.copy2(source, into)

    def _of_context(self, source: str) -> Path:
        if f"!{source.partition('/')[0]}" not in self._ignored:
            raise ValueError(f"COPY {source}: .dockerignore keeps it from the builder")
        return self._context / source

    def _left_out(self, _: str, names: list[str]) -> set[str]:
        patterns = [line.removeprefix("**/") for line in self._ignored if line.startswith("**/")]
        return {name for name in names for pattern in patterns if fnmatch.fnmatch(name, pattern)}

    def _run(self, rest: str) -> None:
        command = re.sub(r"(?<![\w./])/(?=(?:opt|src|data)\b)", f"{self.root}/", rest)
        if os.geteuid() != 0:  # only root may give files away
            command = re.sub(r" -[og] \d+", "", command)
        env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        done = subprocess.run(
            ["/bin/sh", "-euc", command],
            cwd=self._inside(self.workdir),
            env={**env, **self.env},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode != 0:
            raise RuntimeError(f"RUN {rest}\n{done.stdout}{done.stderr}")

    def _nothing_to_do(self, rest: str) -> None:
        """Describes the image; the tests read it from the stage."""


_STEPS: dict[str, Callable[[Builder, str], None]] = {
    "ENV": Builder._set_env,
    "WORKDIR": Builder._change_workdir,
    "COPY": Builder._copy,
    "RUN": Builder._run,
    **dict.fromkeys(
        ("ARG", "LABEL", "VOLUME", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"), Builder._nothing_to_do
    ),
}
