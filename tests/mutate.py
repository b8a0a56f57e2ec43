"""Mutation testing: `python -m tests.mutate policies/hosts.py` tells which small faults no test notices.

A mutant is a module with one change: a condition or a finding left out, an entry left out of a list, a bound
moved by one, a number or a truth value changed. Its tests are those that reach its line, the quickest first,
until one fails. `tests.mutants` runs a mutant of a function in a fork of a process that has collected all
tests; what runs at import is changed before anything is imported. A mutant that no test notices survives,
which is a gap in the tests unless `tests/explained_mutants.yaml` says why it changes nothing. Any other
survivor makes the exit status 1.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import marshal
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Final

import coverage
import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
EXPLAINED = PROJECT / "tests" / "explained_mutants.yaml"
TESTS: Final[Mapping[str, tuple[str, ...]]] = {
    "policies": (
        "policies/test_rules.py",
        "policies/test_audience.py",
        "policies/test_closed.py",
        "policies/test_egress.py",
        "policies/test_external.py",
        "policies/test_half_sites.py",
        "policies/test_management.py",
        "policies/test_monitoring.py",
        "policies/test_nodes.py",
        "policies/test_observed.py",
        "policies/test_observed_guests.py",
        "policies/test_rendered.py",
        "policies/test_right_answers.py",
        "policies/test_shared_networks.py",
        "policies/test_system_containers.py",
        "policies/test_to_machines.py",
        "policies/test_words.py",
        "unit/test_other_project.py",
        "unit/test_peers_read.py",
        "unit/test_slots.py",
    ),
    "reachability": (
        "unit/test_addresses.py",
        "unit/test_pve_firewall.py",
        "unit/test_reachability.py",
        "unit/test_reachability_agreement.py::test_agrees_with_the_walk",
        "unit/test_reachability_proxy.py",
        "unit/test_reachability_rules.py",
        "policies/test_egress.py",
        "policies/test_external.py",
        "policies/test_management.py",
    ),
    "topology": (
        "unit/test_addresses.py",
        "unit/test_config.py",
        "unit/test_env_files.py",
        "unit/test_half_config.py",
        "unit/test_model.py",
        "unit/test_tables.py",
        "unit/test_versions.py",
        "policies/test_words.py",
    ),
}
"""The test files that run against each package's mutants: those about it that start no program."""
SECONDS: Final = 60
"""Seconds of processor time after which a mutant counts as noticed, because it does not end."""
_BOUNDS: Final[Mapping[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_Change = tuple[object, str, object]  # an object of the tree, its field, and the field's other value


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of a module: where, in which function, and the text before and after."""

    file: str
    line: int
    scope: str
    text: str
    code: CodeType

    @property
    def name(self) -> str:
        """What the list of explained mutants calls it."""
        return f"{self.scope}: {self.text}"


def mutants(file: str) -> Iterator[Mutant]:
    """Yield a module's mutants; equal ones of one function are told once."""
    tree = ast.parse((PROJECT / file).read_text(encoding="utf-8"))
    seen: set[tuple[int, str]] = set()
    for scope, statement, node in _nodes(tree):
        for owner, field, value in _changes(node):
            before = _short(statement)
            with _changed(owner, field, value):
                text = f"{before} -> {_short(statement)}"
                if (node.lineno, text) in seen:
                    continue
                seen.add((node.lineno, text))
                code = compile(ast.fix_missing_locations(tree), file, "exec")
            yield Mutant(file=file, line=node.lineno, scope=scope, text=text, code=code)


@contextmanager
def _changed(owner: object, field: str, value: object) -> Iterator[None]:
    old = getattr(owner, field)
    setattr(owner, field, value)
    try:
        yield
    finally:
        setattr(owner, field, old)


def _nodes(tree: ast.Module) -> Iterator[tuple[str, ast.AST, ast.expr | ast.stmt]]:
    """Yield what may change: each statement and expression with its function and its smallest statement."""

    def below(node: ast.AST, scope: str, near: ast.AST) -> Iterator[tuple[str, ast.AST, ast.expr | ast.stmt]]:
        for field, value in ast.iter_fields(node):
            if field in {"annotation", "returns"} or (field == "value" and isinstance(node, ast.Subscript)):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.FunctionDef | ast.ClassDef):
                    yield from below(child, f"{scope}.{child.name}".lstrip("."), child)
                elif isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "__all__":
                    continue
                elif isinstance(child, ast.expr | ast.stmt):
                    closest = child if isinstance(child, ast.stmt) else near
                    yield scope or "module", closest, child
                    yield from below(child, scope, closest)
                elif isinstance(child, ast.AST):
                    yield from below(child, scope, near)

    yield from below(tree, "", tree)


def _changes(node: ast.expr | ast.stmt) -> Iterator[_Change]:  # noqa: C901, PLR0912  # one case for each kind
    """Yield the changes of one node."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _BOUNDS:
            yield node, "ops", [_BOUNDS[type(op)]()]
        case ast.BoolOp(op=op, values=values):
            neutral = ast.Constant(value=isinstance(op, ast.And))
            for at, value in enumerate(values):
                if not isinstance(value, ast.Constant):
                    yield node, "values", [*values[:at], neutral, *values[at + 1 :]]
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            yield node, "left", right
            yield node, "right", left
        case ast.Set(elts=values) | ast.List(elts=values) | ast.Tuple(elts=values, ctx=ast.Load()):
            for at, value in enumerate(values):
                if (
                    len(values) > 1
                    and isinstance(value, ast.Constant | ast.Attribute)
                    and not _is_text(value)
                ):
                    yield node, "elts", values[:at] + values[at + 1 :]
        case ast.If():
            yield node, "test", ast.Constant(value=False)
        case ast.IfExp():
            yield node, "test", ast.Constant(value=True)
            yield node, "test", ast.Constant(value=False)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            for part in node.generators:
                for at in range(len(part.ifs)):
                    yield part, "ifs", part.ifs[:at] + part.ifs[at + 1 :]
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
            # The yield stays in the function, so that it still is a generator.
            yield node, "value", ast.BoolOp(op=ast.And(), values=[ast.Constant(value=0), node.value])
        case ast.Constant(value=bool(truth)):
            yield node, "value", not truth
        case ast.Constant(value=int(number)):
            yield node, "value", number + 1


def _is_text(value: ast.expr) -> bool:
    """Whether an entry is a part of a message."""
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and " " in value.value


def _short(statement: ast.AST) -> str:
    """Return the first line of a statement as the formatter would not: on one line."""
    return ast.unparse(statement).partition("\n")[0]


# --------------------------------------------------------------------------------------------- the tests


class Reach:
    """Which tests reach a module's lines."""

    def __init__(self, file: str, data: Path) -> None:
        stored = coverage.CoverageData(str(data))
        stored.read()
        lines = stored.contexts_by_lineno(str(PROJECT / file))
        self.tests = {line: {test for test in contexts if test} for line, contexts in lines.items()}
        self.seconds: dict[str, float] = json.loads(data.with_suffix(".json").read_text(encoding="utf-8"))
        self.tree = ast.parse((PROJECT / file).read_text(encoding="utf-8"))

    def of(self, line: int) -> list[str]:
        """Return the tests that reach a line, the quickest first.

        A line outside functions is reached by those that reach a function that mentions what it defines.
        """
        reaching = self.tests.get(line) or {
            test for each in self._scope(line) for test in self.tests.get(each, ())
        }
        return sorted(reaching, key=lambda test: (self.seconds.get(test, 0.0), test))

    def in_function(self, line: int) -> bool:
        """Whether a line runs when a function is called, and not at import."""
        return any(each.body[0].lineno <= line <= (each.end_lineno or 0) for each in self._functions)

    @property
    def _functions(self) -> list[ast.FunctionDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]

    def _scope(self, line: int) -> list[int]:
        functions = self._functions
        around = [each for each in functions if each.body[0].lineno <= line <= (each.end_lineno or 0)]
        if not around:
            names = {
                name.id
                for statement in self.tree.body
                if statement.lineno <= line <= (statement.end_lineno or 0)
                for name in ast.walk(statement)
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
            around = [each for each in functions if names & {*_names(each)}] or functions
        return [line for each in around for line in range(each.lineno, (each.end_lineno or 0) + 1)]


def _names(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


class _Loader(SourceFileLoader):
    """Finds and loads the mutant in place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        name = ".".join(Path(mutant.file).with_suffix("").parts).removesuffix(".__init__")
        super().__init__(name, str(PROJECT / mutant.file))
        self.code = mutant.code

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Return the module's spec with this loader."""
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  # the protocol's
        """Return the mutant."""
        return self.code


def survives(mutant: Mutant, tests: Iterable[str]) -> bool:
    """Return whether the tests pass with the mutant, in a child that has imported nothing of the project."""
    child = os.fork()
    if not child:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  # no path of a user's
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            sys.meta_path.insert(0, _Loader(mutant))
            plain = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain")
            status = int(pytest.main([*plain, *tests]))
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def explained() -> dict[str, dict[str, str]]:
    """Return the reason of each mutant that may survive, by file and name."""
    found: dict[str, dict[str, str]] = yaml.safe_load(EXPLAINED.read_text(encoding="utf-8"))
    return found


def judge(files: Iterable[str], data: Path, most: int, *, imports: bool) -> Counter[str]:
    """Try the mutants of modules of one package, print those that survive, and return how each ended."""
    told, at_import = Counter[str](), list[tuple[Mutant, list[str]]]()
    in_functions = list[tuple[Mutant, list[str]]]()
    for file in files:
        known, reach = explained().get(file, {}), Reach(file, data)
        for mutant in mutants(file):
            in_function = reach.in_function(mutant.line)
            tests = reach.of(mutant.line)[: most or None]
            if not in_function and not imports:
                told["left out, at import"] += 1
            elif mutant.name in known:
                told["explained"] += 1
            elif not tests:
                told["not reached"] += 1
                tell(mutant, "no test reaches it")
            else:
                (in_functions if in_function else at_import).append((mutant, tests))
    for (mutant, tests), survived in zip(in_functions, in_forks(in_functions, data), strict=True):
        told[verdict(mutant, len(tests), survived)] += 1
    for mutant, tests in at_import:
        told[verdict(mutant, len(tests), survives(mutant, tests))] += 1
    return told


def verdict(mutant: Mutant, tests: int, survived: bool) -> str:
    """Return how a mutant ended, and print one that survived."""
    if survived:
        tell(mutant, f"{tests} tests")
    return "survived" if survived else "noticed"


def tell(mutant: Mutant, seen: str) -> None:
    """Print a mutant that no test notices."""
    print(f"{mutant.file}:{mutant.line}: {mutant.name} ({seen})", flush=True)


def in_forks(found: Sequence[tuple[Mutant, list[str]]], data: Path) -> Iterator[bool]:
    """Yield whether each mutant survives, from a process that imports and collects once."""
    jobs = data.with_name(f"{data.stem}.{os.getpid()}.jobs")
    jobs.write_bytes(marshal.dumps([(each.file, each.code, tests) for each, tests in found]))
    with started(data, str(jobs)) as process:
        assert process.stdout
        for line in process.stdout:
            if line.strip() in {"survived", "noticed"}:
                yield line.strip() == "survived"


def started(data: Path, jobs: str) -> subprocess.Popen[str]:
    """Return a process of `tests.mutants`."""
    package = data.stem
    command = [
        sys.executable,
        "-m",
        "tests.mutants",
        package,
        str(data),
        jobs,
        *(f"tests/{file}" for file in TESTS[package]),
    ]
    own = {**os.environ, "COVERAGE_CORE": "ctrace"}
    return subprocess.Popen(command, cwd=PROJECT, env=own, stdout=subprocess.PIPE, text=True)


def main() -> int:
    """Try the mutants of the named modules."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="module", help="such as policies/hosts.py, or a folder")
    parser.add_argument("--most", type=int, default=0, help="tests against a mutant; 0: all that reach it")
    parser.add_argument("--imports", action="store_true", help="also what runs at import (seconds each)")
    parser.add_argument("--reach", type=Path, metavar="FOLDER", help="where to keep which test reaches what")
    given = parser.parse_args()
    named = [
        path for each in given.files for path in sorted((PROJECT / each).rglob("*.py")) or [PROJECT / each]
    ]
    files = [str(path.relative_to(PROJECT)) for path in named]
    since = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        told = Counter[str]()
        for package, group in itertools.groupby(files, key=lambda file: file.partition("/")[0]):
            data = (given.reach or Path(folder)).resolve() / f"{package}.coverage"
            if not data.exists():
                with started(data, "") as process:
                    process.communicate()
            told += judge(group, data, given.most, imports=given.imports)
    print(f"{told.total()} mutants in {time.monotonic() - since:.0f} s: {dict(told)}")
    return 1 if told["survived"] + told["not reached"] else 0


if __name__ == "__main__":
    sys.exit(main())
