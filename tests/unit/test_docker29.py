"""The recipe of Docker 29: what is pinned, and when the cache builds again."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lab import apt, docker29
from lab.docker29 import SOURCES
from lab.toolchain import golang

VERSIONS = {
    "moby": "github.com/moby/moby/v2 v2.0.0-beta.18",
    "containerd": "github.com/containerd/containerd/v2 v2.4.2",
    "runc": "github.com/opencontainers/runc v1.4.0",
}


def test_programs() -> None:
    """The recipe builds the five programs that the engine needs first on PATH."""
    programs = [program for source in SOURCES for program in source.programs]
    assert sorted(programs) == ["containerd", "containerd-shim-runc-v2", "docker-proxy", "dockerd", "runc"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_pins(source: docker29.Source) -> None:
    """Each module has an exact version, and each of its requirements a checksum."""
    pins = (source.folder / "go.mod").read_text()
    sums = (source.folder / "go.sum").read_text()
    required = re.findall(r"^\s+(\S+ v\S+)", pins, re.MULTILINE)
    assert VERSIONS[source.name] in required
    assert [pin for pin in required if f"{pin} h1:" not in sums] == []


@pytest.mark.parametrize("file", [f"{name}/go.{end}" for name in VERSIONS for end in ("mod", "sum")])
def test_changed_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """A change to any go.mod or go.sum makes another entry in the cache."""
    before = docker29.material()
    shutil.copytree(docker29.HERE / "go", tmp_path / "go")
    monkeypatch.setattr(docker29, "HERE", tmp_path)
    assert docker29.material() == before
    (tmp_path / "go" / file).open("a").write("\n")
    assert docker29.material() != before


@pytest.mark.parametrize("change", [{"flags": ()}, {"cgo": True}, {"programs": {}}])
def test_changed_recipe(monkeypatch: pytest.MonkeyPatch, change: dict[str, object]) -> None:
    """A change to a program's build makes another entry in the cache."""
    before = docker29.material()
    first, *rest = SOURCES
    monkeypatch.setattr(docker29, "SOURCES", (replace(first, **change), *rest))  # type: ignore[arg-type]
    assert docker29.material() != before


@pytest.mark.parametrize("cgo", [True, False])
def test_c_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgo: bool) -> None:
    """C code is built only where a module asks for it, as runc does."""
    own = tmp_path / "go"
    own.write_text('#!/bin/sh\necho "$CGO_ENABLED" >"$3"\n')
    own.chmod(0o755)
    monkeypatch.setattr(golang, "go", lambda _report: str(own))
    monkeypatch.setattr("lab.paths.CACHE", tmp_path)
    golang.build("building it", tmp_path, ".", tmp_path / "out", flags=[], report=print, cgo=cgo)
    assert (tmp_path / "out").read_text() == f"{int(cgo)}\n"
    assert [source.name for source in SOURCES if source.cgo] == ["runc"]


def test_missing_file_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package without a program is installed if a given file of it is missing."""
    asked: list[str] = []
    monkeypatch.setattr("lab.paths.CACHE", tmp_path)
    monkeypatch.setattr(apt, "POLICY", tmp_path / "policy")
    monkeypatch.setattr(apt, "POLICY_KEPT", tmp_path / "kept")
    monkeypatch.setattr(apt, "_apt", lambda _what, *words: asked.extend(words))
    here, missing = tmp_path / "here.h", tmp_path / "missing.h"
    here.touch()
    assert apt.install("it", {str(here): "libhere-dev", str(missing): "libmissing-dev"}, print) == [
        "libmissing-dev"
    ]
    assert asked[-1] == "libmissing-dev"
