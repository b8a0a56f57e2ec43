"""Runs mutants of functions in forks of one process that has imported the modules and collected the tests.

`tests.mutate` starts it. Without mutants it measures which test reaches which line, and how long each takes.
A fork puts the mutant's code into the functions, runs the tests until one fails, and tells by its status.
"""

from __future__ import annotations

import gc
import json
import marshal
import os
import pickle
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

import coverage
import pytest

from resources import program
from tests.mutate import SECONDS
from tests.policies import sound

PROGRAM: Final = frozenset({"topology"})
"""Packages that take part in making a stack's resources, so that these can't be kept."""


class Forks:
    """A plugin of pytest that runs mutants, or a measurement, in place of the tests."""

    def __init__(self, package: str, data: Path, jobs: Path | None, out: int) -> None:
        self.package, self.data, self.jobs, self.out = package, data, jobs, out
        self.failed = False
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep whether a test failed, and how long it took."""
        self.failed |= report.failed
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the mutants, or measure."""
        assert not session.testsfailed, "tests could not be collected"
        kept = Kept(self.data.with_suffix(".pickle"))
        if self.package not in PROGRAM:
            sound.run.__defaults__ = (None, kept(program.resources))
        if self.jobs is None:
            self.measure(session.items)
            kept.write()
            return True
        items = {item.nodeid: item for item in session.items}
        for file, code, tests in marshal.loads(self.jobs.read_bytes()):  # noqa: S302  # what tests.mutate wrote
            noticed = self.fork(file, code, [items[test] for test in tests if test in items])
            os.write(self.out, b"noticed\n" if noticed else b"survived\n")
        return True

    def measure(self, items: Iterable[pytest.Item]) -> None:
        """Run all tests, which must pass, and write which lines each reaches."""
        measured = coverage.Coverage(data_file=str(self.data), source=[self.package], messages=False)
        measured.start()
        for item in items:
            measured.switch_context(item.nodeid)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            assert not self.failed, item.nodeid
        measured.stop()
        measured.save()
        self.data.with_suffix(".json").write_text(json.dumps(self.seconds), encoding="utf-8")

    def fork(self, file: str, code: CodeType, items: Iterable[pytest.Item]) -> bool:
        """Return whether a test notices the mutant."""
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1] != 0
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            put(file, code)
            for item in items:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                if self.failed:
                    break
            os._exit(int(self.failed))
        finally:
            os._exit(1)


class Kept:
    """The resources of sites that tests judge, which are made once for all mutants."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.made: dict[str, bytes] = pickle.loads(file.read_bytes()) if file.exists() else {}  # noqa: S301

    def __call__(
        self, make: Callable[[dict[str, object]], list[Any]]
    ) -> Callable[[dict[str, object]], list[Any]]:
        """Return a function that makes the resources of unknown keys alone."""

        def resources(keys: dict[str, object]) -> list[Any]:
            key = json.dumps(keys, sort_keys=True, default=str)
            if key not in self.made:
                self.made[key] = pickle.dumps(make(keys))
            made: list[Any] = pickle.loads(self.made[key])  # noqa: S301  # pickled above
            return made

        return resources

    def write(self) -> None:
        """Keep what was made for the next process."""
        self.file.write_bytes(pickle.dumps(self.made))


def put(file: str, code: CodeType) -> None:
    """Give each function of a module the code of the mutant's."""
    known = dict(_codes(code))
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and f"/{function.__code__.co_filename}".endswith(f"/{file}"):
            mine = function.__code__
            changed = known.get((mine.co_qualname, mine.co_firstlineno))
            if changed:
                function.__code__ = changed


def _codes(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield (each.co_qualname, each.co_firstlineno), each
            yield from _codes(each)


def main(package: str, data: str, jobs: str, *tests: str) -> int:
    """Run the mutants of the file `jobs` against tests; measure if it is empty."""
    out = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, tempfile.TemporaryDirectory() as folder:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        plain = (
            "-q",
            "-s",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--assert=plain",
            f"--basetemp={folder}/t",
        )
        forks = Forks(package, Path(data), Path(jobs) if jobs else None, out)
        return int(pytest.main([*plain, *tests], plugins=[forks]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
