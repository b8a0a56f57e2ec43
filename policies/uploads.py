"""Rules for what is put into containers: each file has one readable content at one place, and is no program.

No mount replaces the image's programs, either. The rules hold for every container; `policies.rendered` also
compares known apps with the stack file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from typing import Final

from policies.rule import Severity, policy
from resources.docker import DockerContainer, Upload
from resources.typed import TypedResource
from topology.host_folders import rooted, within
from topology.image_folders import PROGRAMS, has_programs
from topology.index import TopologyIndex

_STARTS: Final = ("#!", "\x7fELF")
"""The beginnings of a program, as the kernel tells it."""
_SHELL: Final = re.compile(r"(ba|da|a|z|k|c|tc|fi)?sh|busybox|toybox")
_INTERPRETER: Final = re.compile(
    r"[gmn]?awk|sed|make|perl|python[\d.]*|ruby|lua(jit)?[\d.]*|node(js)?|deno|bun|php[\d.]*|java|tclsh|expect"
    r"|ld(-linux)?[\w.-]*\.so[\d.]*"
)
"""Programs that run the first file that they are given; a shell runs any."""
_LOADERS: Final = frozenset(
    {
        *("BASH_ENV", "ENV", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "NODE_OPTIONS", "NODE_PATH", "PERL5LIB", "PERL5OPT"),
        *("PYTHONPATH", "PYTHONSTARTUP", "RUBYLIB", "RUBYOPT"),
    }
)
"""Environment variables that name other code for a program to run."""
_READABLE: Final = re.compile(r"0{0,2}[0246]{3}")
"""Permissions in octal by which no user may execute the file."""
_CONFIGURATION: Final = re.compile(
    r"-{1,2}(?P<name>([\w-]+\.)*config([.-]?file)?)(=(?P<file>.*))?", re.IGNORECASE
)
"""Arguments that name a file with configuration, as in `--config.file=/etc/prometheus/prometheus.yml`."""
_NAMED: Final = re.compile(r"/[\w./+-]+\.(?:ya?ml|toml|conf|ini|cfg|alloy)(?![\w.-])", re.IGNORECASE)
"""Files with configuration that an argument names in any other way, such as `-c /etc/nginx/nginx.conf`."""
_YAML: Final = (".yml", ".yaml")


@policy(
    DockerContainer,
    obligation="What is uploaded into a container must be readable configuration, each file once.",
    remedy="Put programs into the image, and text into uploads.content, with an absolute path for each.",
    severity=Severity.CRITICAL,
)
def uploads_are_configuration(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield uploaded programs, which bypass image pinning, and uploads with no or more than one meaning."""
    container, seen = view.inputs, set[str]()
    for place, upload in enumerate(container.uploads):
        file = upload.file if upload.file and upload.file.isprintable() else f"uploads[{place}].file"
        path = rooted(upload.file)
        if file != path:
            yield f"{file} is not an absolute path without detours, so what it replaces can't be known"
        if path in seen:
            yield f"{file} is uploaded twice, and which one remains is chance"
        seen.add(path)
        if _is_program(upload):
            yield f"{file} is an uploaded program"
        elif upload.text is None:
            yield f"{file} can't be read from the resource"
        for mount in _mounts(container):
            if within(path, mount):
                yield f"{file} is where {mount} is mounted, so what is read there can't be known"
    for path, file in _run(container, sorted(seen)):
        yield f"{path} runs {file}, which is uploaded"


@policy(
    DockerContainer,
    obligation="A container's arguments must be in the resource, and name configuration that is in it, too.",
    remedy="Write out the arguments, and upload the file that they name, as .yml or .yaml if it is YAML.",
    severity=Severity.CRITICAL,
)
def arguments_name_uploads(view: TypedResource[DockerContainer], _: TopologyIndex) -> Iterator[str]:
    """Yield arguments that are read from a file, and ones that name another file than those uploaded.

    A container without uploads reads the configuration of its image, which the stack file names.
    """
    container = view.inputs
    files = {upload.file for upload in container.uploads}
    for kind, words in (("entrypoints", container.entrypoints), ("command", container.command)):
        for place, word in enumerate(words):
            if word.startswith("@"):
                yield f"{kind}[{place}] reads further arguments from a file"
            flag, file = _named(word, "".join(words[place + 1 : place + 2]))
            if files and {*_NAMED.findall(word), *([file] if flag else [])} - files:
                yield f"{kind}[{place}] names a file that is not uploaded, so what it says can't be known"
            elif flag == "config.file" and file in files and not file.endswith(_YAML):
                yield f"{kind}[{place}] names {file}, which is read as YAML in spite of its suffix"


@policy(
    DockerContainer,
    obligation="A container's programs must be those of its image.",
    remedy="Mount data elsewhere, put programs into the image, or declare an exception.",
    severity=Severity.CRITICAL,
)
def programs_are_the_images(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield mounts over folders of programs: another service, or an older image, decides what runs."""
    service = topology.containers_by_name.get(view.inputs.name)
    is_known = service is not None and service.app is not None
    for mount in dict.fromkeys(_mounts(view.inputs)):
        if has_programs(mount, is_known=is_known):
            yield f"{mount} is mounted over, where the image has its programs"


def _named(word: str, following: str) -> tuple[str, str]:
    """Return the name of a flag for a file with configuration, and the file; empty texts for other words."""
    named = _CONFIGURATION.fullmatch(word)
    return (named["name"].lower(), named["file"] or following) if named else ("", "")


def _is_program(upload: Upload) -> bool:
    return (
        upload.executable
        or not _READABLE.fullmatch(upload.permissions or "0644")
        or any(within(rooted(upload.file), folder) for folder in PROGRAMS)
        or (upload.text or "").startswith(_STARTS)
    )


def _mounts(container: DockerContainer) -> Iterator[str]:
    """Yield every path in the container at which something else than its image is."""
    mounted: Iterable[str] = (*(bind.target for bind in container.binds), *container.tmpfs)
    scratch = (mount.target for mount in container.mounts if mount.type == "tmpfs")
    yield from (rooted(target) for target in (*mounted, *scratch) if target)


def _run(container: DockerContainer, files: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each place at which an uploaded file is run, and the file."""
    found: list[tuple[str, str]] = []
    tests = container.healthcheck.tests if container.healthcheck else ()
    health = ("sh", *tests[1:]) if tests[:1] == ("CMD-SHELL",) else tests[1:]
    for path, words in (
        ("command", (*container.entrypoints, *container.command)),
        ("healthcheck.tests", health),
    ):
        for place, word in enumerate(words):
            program, given = posixpath.basename(word), words[place + 1 :]
            if " " in word:  # a line for the shell that the image starts
                given = (word,)
            elif _INTERPRETER.fullmatch(program):
                options = [*takewhile(lambda each: each.startswith("-"), given)]
                given = given[: len(options) + 1]
            elif not _SHELL.fullmatch(program):
                continue
            found += [(path, file) for file in files if any(file in each for each in given)]
    for name, value in container.environment.items():
        if name in _LOADERS:
            parts = re.split(r"[\s:;,=]+", value)
            found += [(f"envs.{name}", file) for file in files if any(within(file, p) for p in parts if p)]
    yield from dict.fromkeys(found)
