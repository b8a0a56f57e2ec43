"""Selects the source of each piece of the tool chain, and builds the environment in which Pulumi finds it.

The order is installed, published, else made here (`recipes`). Note: after one published piece can't be had,
the others are not tried, so that a machine without internet access waits once. A choice lasts as long as its
entry in the cache, which is safe to delete.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lab import cache, paths
from lab.errors import LabError
from lab.process import run
from lab.toolchain.recipes import ENGINE, PLUGINS, Plugin, Recipe, StandIn
from lab.toolchain.step import AGAIN, Report, full

CHOICE = "CHOICE"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Choice(StrEnum):
    """The source of a piece."""

    INSTALLED = "installed"
    PUBLISHED = "published"
    BUILT = "built"
    STAND_IN = "stand-in"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """An available piece; its files are in `folder`."""

    recipe: Recipe
    choice: Choice
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """The engine and the plugins, complete and in the right versions."""

    engine: Piece
    plugins: tuple[Piece, ...]


def ensure(report: Report = print) -> Toolchain:
    """Return the tool chain, providing each missing piece; reports on one line where each is from.

    Raises LabError that names the failed step and how to continue; finished pieces stay.
    """
    maker = _Maker(report)
    try:
        paths.CACHE.mkdir(parents=True, exist_ok=True)
        engine = _installed_engine() or maker.make(ENGINE)
        maker.engine = engine.folder / "pulumi"
        plugins = tuple(_installed_plugin(plugin) or maker.make(plugin) for plugin in PLUGINS)
        chain = Toolchain(engine=engine, plugins=plugins)
        _assemble(chain)
    except KeyboardInterrupt:
        raise LabError(f"{maker.step}: interrupted; {AGAIN}") from None
    except OSError as fault:
        if fault.errno in DISK_FULL:
            raise full(maker.step) from fault
        raise LabError(f"{maker.step}: {fault.filename}: {fault.strerror}; mend it and {AGAIN}") from fault
    pieces = (engine, *plugins)
    used = [
        f"{choice} {', '.join(names)}"
        for choice in Choice
        if (names := [piece.recipe.label for piece in pieces if piece.choice is choice])
    ]
    report(f"tools: {'; '.join(used)}")
    return chain


def environment() -> dict[str, str]:
    """Return the variables that make plain `pulumi` use the tool chain; empty where all of it is installed.

    Only reads, in well under 0.3 s. Raises LabError where `ensure` has not run, or ran for other sources.
    """
    try:
        record = json.loads(_record().read_text())
    except (OSError, ValueError):
        raise LabError("tool chain: not there yet; run `make tools`") from None
    if record["material"] != _material():
        raise LabError("tool chain: made for other versions or sources; run `make tools`")
    for file in record["files"]:
        if not Path(file).exists():
            raise LabError(f"tool chain: {file} is gone; run `make tools`")
    if not record["home"]:
        return {}
    before = [record["path"], str(Path(sys.prefix) / "bin")]
    rest = [one for one in os.environ.get("PATH", os.defpath).split(os.pathsep) if one not in before]
    return {
        "PATH": os.pathsep.join([*before, *rest]),
        "PULUMI_HOME": record["home"],
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


class _Maker:
    """Makes what the cache lacks; remembers whether published pieces can be fetched here."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.engine: Path | None = None
        self.reachable: bool | None = None
        self.step = "tool chain"

    def make(self, recipe: Recipe) -> Piece:
        """Return the piece from the cache; fetches or builds it where no valid entry exists."""
        self.step = recipe.label
        name = f"toolchain-{recipe.name}"
        remains = list(paths.CACHE.glob(f"{name}-{cache.key(recipe.material)}*/"))

        def fill(part: Path) -> None:
            if remains:
                self.report(f"{recipe.label}: what the cache holds is broken or unfinished; making it again")
            began = time.monotonic()
            choice = self._fill(recipe, part)
            (part / CHOICE).write_text(choice)
            self.report(f"{recipe.label}: {choice} in {time.monotonic() - began:.0f} s")

        folder = cache.entry(name, recipe.material, fill)
        return Piece(recipe=recipe, choice=Choice((folder / CHOICE).read_text()), folder=folder)

    def _fill(self, recipe: Recipe, part: Path) -> Choice:
        if self.reachable is not False:
            try:
                recipe.publish(part, self.engine, self.report)
            except LabError:
                self.reachable = self.reachable or False
                self.report(f"{recipe.label}: the published one can't be had from here")
            else:
                self.reachable = True
                return Choice.PUBLISHED
        if left := _left(recipe):
            minutes = sum(each.minutes for each in left)
            after = f", then {', '.join(each.label for each in left[1:])}" if left[1:] else ""
            self.report(f"building {recipe.label}{after}: about {minutes} min on two cores")
        recipe.build(part, self.report)
        return Choice.STAND_IN if isinstance(recipe, StandIn) else Choice.BUILT


def _left(recipe: Recipe) -> list[Recipe]:
    """Return a recipe and those after it that have to be built and that the cache does not have yet."""
    order: tuple[Recipe, ...] = (ENGINE, *PLUGINS)
    rest = order[order.index(recipe) :]
    return [
        each
        for each in rest
        if each.minutes
        and not (isinstance(each, Plugin) and _installed_plugin(each))
        and not _entry(each).exists()
    ]


def _entry(recipe: Recipe) -> Path:
    return paths.CACHE / f"toolchain-{recipe.name}-{cache.key(recipe.material)}"


def _installed_engine() -> Piece | None:
    """Return the user's own engine if it has the right version and the Python host."""
    theirs = [one for one in os.environ.get("PATH", os.defpath).split(os.pathsep) if not _ours(one)]
    found = shutil.which("pulumi", path=os.pathsep.join(theirs))
    if not found:
        return None
    beside = str(Path(found).resolve().parent)
    if not shutil.which("pulumi-language-python", path=os.pathsep.join([beside, *theirs])):
        return None
    try:
        told = run([found, "version"], "pulumi", timeout=20, env={"PULUMI_SKIP_UPDATE_CHECK": "true"})
    except LabError:
        return None
    if told.strip() != f"v{ENGINE.version}":
        return None
    return Piece(recipe=ENGINE, choice=Choice.INSTALLED, folder=Path(found).parent)


def _installed_plugin(plugin: Plugin) -> Piece | None:
    """Return the plugin in the user's own Pulumi home; None for an incomplete installation."""
    named = os.environ.get("PULUMI_HOME", "")
    home = Path(named) if named and not _ours(named) else Path.home() / ".pulumi"
    folder = home / "plugins" / plugin.folder
    if not (folder / plugin.program).is_file() or folder.with_name(f"{folder.name}.partial").exists():
        return None
    return Piece(recipe=plugin, choice=Choice.INSTALLED, folder=folder)


def _ours(folder: str) -> bool:
    """Whether `environment` added this folder, and not the user."""
    return Path(folder).is_relative_to(paths.CACHE)


def _assemble(chain: Toolchain) -> None:
    """Link the plugins into the Pulumi home in the cache, and record the environment."""
    home = paths.CACHE / "pulumi"
    files = [chain.engine.folder / "pulumi"]
    own = any(piece.choice is not Choice.INSTALLED for piece in (chain.engine, *chain.plugins))
    for piece in chain.plugins if own else ():
        assert isinstance(piece.recipe, Plugin)  # noqa: S101 - Toolchain.plugins has no other
        # A real folder with links in it: Pulumi ignores a folder that is itself a link.
        folder = home / "plugins" / piece.recipe.folder
        folder.mkdir(parents=True, exist_ok=True)
        for file in piece.folder.iterdir():
            _link(folder / file.name, file)
        files.append(folder / piece.recipe.program)
    if own:
        _log_nowhere(home / "logs")
    record = {
        "material": _material(),
        "path": str(chain.engine.folder),
        "home": str(home) if own else None,
        "files": [str(file) for file in files],
    }
    draft = _record().with_suffix(".new")
    draft.write_text(json.dumps(record))
    draft.replace(_record())


def _link(link: Path, target: Path) -> None:
    """Point `link` at `target` atomically, so that a concurrent Pulumi run finds the old or the new one."""
    draft = link.with_name(f"{link.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)


def _log_nowhere(logs: Path) -> None:
    """Disable the engine's automatic log, which contains secrets.

    Unlike the engine's output, the log holds every property in full each time the engine passes it on. No
    setting turns it off; source: pkg/logging/encrypted.go of pulumi 3.259.0.
    """
    if not logs.is_symlink():
        shutil.rmtree(logs, ignore_errors=True)
    _link(logs, Path(os.devnull))


def _record() -> Path:
    return paths.CACHE / "toolchain.json"


def _material() -> Any:
    return [recipe.material for recipe in (ENGINE, *PLUGINS)]
