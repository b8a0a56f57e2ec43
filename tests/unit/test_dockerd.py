"""The recipes of the Docker engines: what is pinned, and when the cache builds again."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lab import apt, dockerd
from lab.dockerd import ENGINES, RUNTIME
from lab.toolchain import golang

VERSIONS = {
    "29": "github.com/moby/moby/v2 v2.0.0-beta.18",
    "28": "github.com/docker/docker v28.5.2+incompatible",
    "containerd": "github.com/containerd/containerd/v2 v2.4.2",
    "runc": "github.com/opencontainers/runc v1.4.0",
}
SOURCES = (*ENGINES.values(), *RUNTIME)


@pytest.mark.parametrize("engine", ENGINES)
def test_programs(engine: str) -> None:
    """Each engine comes with the five programs that it needs first on PATH."""
    programs = [program for source in (ENGINES[engine], *RUNTIME) for program in source.programs]
    assert sorted(programs) == ["containerd", "containerd-shim-runc-v2", "docker-proxy", "dockerd", "runc"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_pins(source: dockerd.Source) -> None:
    """Each module has an exact version, and each of its requirements a checksum."""
    pins = (source.folder / "go.mod").read_text()
    sums = (source.folder / "go.sum").read_text()
    required = re.findall(r"^\s+(\S+ v\S+) // indirect", pins, re.MULTILINE)
    assert VERSIONS[source.name] in required
    assert [pin for pin in required if f"{pin} h1:" not in sums] == []


def test_version() -> None:
    """Docker 28 reports its module's version, which the linker sets."""
    _, _, version = VERSIONS["28"].removesuffix("+incompatible").partition(" v")
    assert any(flag.endswith(f"/dockerversion.Version={version}") for flag in ENGINES["28"].flags)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
@pytest.mark.parametrize("file", ["go.mod", "go.sum"])
def test_changed_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: dockerd.Source, file: str
) -> None:
    """A change to go.mod or go.sum makes another entry in the cache."""
    before = source.material
    shutil.copytree(dockerd.HERE / "go", tmp_path / "go")
    monkeypatch.setattr(dockerd, "HERE", tmp_path)
    assert source.material == before
    (source.folder / file).open("a").write("\n")
    assert source.material != before


@pytest.mark.parametrize("change", [{"flags": ()}, {"cgo": True}, {"programs": {}}])
def test_changed_recipe(change: dict[str, object]) -> None:
    """A change to a program's build makes another entry in the cache."""
    source = ENGINES["29"]
    assert replace(source, **change).material != source.material  # type: ignore[arg-type]


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
