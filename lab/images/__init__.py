"""The dev stack's images in the engine: pulled where a registry answers, else built here.

An image is present when its label holds the digest of its recipe, so a changed recipe or a half-built image
is built again. Note: an image's name does not tell its origin; `org.homelab-network.origin` does.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

from lab import paths
from lab.errors import LabError
from lab.images.catalogue import IMAGES, PREFIX, STANDIN, Image
from lab.images.pack import pack
from lab.process import run
from lab.toolchain.step import Report

__all__ = ["IMAGES", "ensure", "standin_binary"]

ORIGIN = "org.homelab-network.origin"
RECIPE = "org.homelab-network.recipe"
# Parts of a registry's answer about an image that it does not have.
NOT_THERE = ("manifest unknown", "not found", "no matching manifest", "does not exist")
PULL_SECONDS = 600


def ensure(endpoint: str | None, report: Report, wanted: tuple[Image, ...] = IMAGES) -> dict[str, str]:
    """Make the images present in the engine at `endpoint` (None: the user's own); return tag -> origin.

    The origin is "cached", "pulled" or "made". Raises LabError naming an image that can't be had.
    """
    engine = {"DOCKER_HOST": endpoint} if endpoint else {}
    how: dict[str, str] = {}
    registry = True
    for number, image in enumerate(wanted, 1):
        began = time.monotonic()
        try:
            how[image.tag] = _bring(image, engine, report, registry=registry)
        except _NoRegistryError:
            report("images: no registry answers; made here from packages")
            registry = False
            how[image.tag] = _bring(image, engine, report, registry=registry)
        if how[image.tag] != "cached":
            seconds = time.monotonic() - began
            report(
                f"image {image.tag}: {how[image.tag]} in {seconds:.0f} s; {len(wanted) - number} to look at"
            )
    report(f"images: {', '.join(f'{number} {origin}' for origin, number in Counter(how.values()).items())}")
    return how


def remove(endpoint: str | None, report: Report) -> None:
    """Remove the lab's images, by label and name, from an engine; an image that a container uses stays.

    An older image whose name has moved to a newer one is nameless, and known by its id: what a user commits
    from a container of the lab's has the label, too.
    """
    engine = {"DOCKER_HOST": endpoint} if endpoint else {}
    form = "{{.Repository}}:{{.Tag}} {{.ID}}"
    ours = ["docker", "image", "ls", "--no-trunc", "--filter", f"label={RECIPE}", "--format", form]
    older = _older().read_text().split() if _older().exists() else []
    for line in run(ours, "images", env=engine).splitlines():
        tag, number = line.split()
        nameless = tag.startswith("<none>") and number in older
        if nameless or tag.startswith(f"{PREFIX}/"):
            with contextlib.suppress(LabError):
                run(["docker", "image", "rm", number if nameless else tag], "images", env=engine)
    _older().unlink(missing_ok=True)
    report("images: removed")


def _older() -> Path:
    """Return the file with the ids of images whose name has moved to a newer one."""
    return paths.STATE / "older-images"


def _note_older(image: Image, engine: dict[str, str]) -> None:
    with contextlib.suppress(LabError):  # raised where there is none
        words = ["docker", "image", "inspect", "--format", "{{.Id}}", image.tag]
        number = run(words, image.tag, env=engine).strip()
        _older().parent.mkdir(parents=True, exist_ok=True)
        with _older().open("a") as file:
            file.write(f"{number}\n")


def standin_binary() -> Path:
    """Return the static stand-in program, built if needed, for guests that run it as a process."""
    return STANDIN.get(lambda _line: None) / "usr/bin/standin"


class _NoRegistryError(Exception):
    """No registry answers, so the remaining images are not requested."""


def _bring(image: Image, engine: dict[str, str], report: Report, *, registry: bool) -> str:
    if _present(image, engine):
        return "cached"
    _note_older(image, engine)
    if registry and image.published:
        report(f"image {image.tag}: asking a registry for {image.published}")
        if _pull(image, engine):
            return "pulled"
    _make(image, engine, report)
    return "made"


def _present(image: Image, engine: dict[str, str]) -> bool:
    form = f'{{{{index .Config.Labels "{RECIPE}"}}}}'
    try:
        found = run(["docker", "image", "inspect", "--format", form, image.tag], image.tag, env=engine)
    except LabError:
        return False
    return found.strip() == image.recipe()


def _pull(image: Image, engine: dict[str, str]) -> bool:
    """Pull the published image and add the lab's name and labels; return False where a registry lacks it."""
    published = str(image.published)
    theirs = _has(published, engine)
    try:
        run(["docker", "pull", "--quiet", published], image.tag, timeout=PULL_SECONDS, env=engine)
    except LabError as fault:
        if any(words in str(fault).lower() for words in NOT_THERE):
            return False
        raise _NoRegistryError from fault
    adopt(image, published, engine)
    if not theirs:
        run(["docker", "image", "rm", published], image.tag, env=engine)
    return True


def _has(tag: str, engine: dict[str, str]) -> bool:
    """Whether the engine already has an image of this name, which is then the user's."""
    try:
        run(["docker", "image", "inspect", tag], tag, env=engine)
    except LabError:
        return False
    return True


def adopt(image: Image, published: str, engine: dict[str, str]) -> None:
    """Add the lab's name and labels to a published image in the engine; everything else stays."""
    made = run(["docker", "create", published], image.tag, env=engine).strip()
    try:
        labels = _labels(image, f"published as {published}")
        run(["docker", "commit", *labels, made, image.tag], image.tag, env=engine)
    finally:
        run(["docker", "rm", "--volumes", made], image.tag, env=engine)


def _make(image: Image, engine: dict[str, str], report: Report) -> None:
    changes = [
        f"USER {image.user}",
        f"WORKDIR {image.folder}",
        f"ENTRYPOINT {json.dumps(image.entrypoint)}",
        f"CMD {json.dumps(image.command)}",
    ]
    parts = [part.get(report) for part in image.parts]
    options = [word for change in changes for word in ("--change", change)]
    with tempfile.NamedTemporaryFile(dir=paths.CACHE, suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            pack(image, parts, tar)
        file.flush()
        labels = _labels(image, image.origin)
        run(["docker", "import", *options, *labels, file.name, image.tag], image.tag, timeout=300, env=engine)


def _labels(image: Image, origin: str) -> list[str]:
    pairs = {ORIGIN: origin, RECIPE: image.recipe()}
    return [word for key, value in pairs.items() for word in ("--change", f'LABEL {key}="{value}"')]
