"""The rule that a declared container is what `rendered.container` makes of the stack file, to the byte.

It interprets nothing: what is more, less or different is refused, so no setting has to be known. Rules that
interpret remain for the proof, for undeclared containers, and for what an exception permits.
Networks are not compared here; `policies.networks` judges them.

Note: messages print expected values, which follow from the stack file, and never given ones, which may be
secret. The content of some files does not follow from the stack file: the stack's secrets, PEM files of the
machine that runs Pulumi, and generated certificates, which `policies.certificates` judges.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Final

from policies.rule import Severity, policy
from rendered.apps import taken
from rendered.container import container
from rendered.runtime import PemFile, StackSecret, Text
from resources.docker import DockerContainer, Volume
from resources.resource import HIDDEN, UNKNOWN
from resources.typed import TypedResource, is_secret
from topology import env_files
from topology.index import TopologyIndex
from topology.model import Slot

_DEFAULTS: Final[Mapping[str, object]] = {
    "containerReadRefreshTimeoutMilliseconds": 15000,
    "driver": "local",
    "interval": "0s",
    "ip": "0.0.0.0",  # noqa: S104  # the provider's default
    "mustRun": True,
    "networkMode": "bridge",
    "protocol": "tcp",
    "removeVolumes": True,
    "restart": "no",
    "start": True,
    "startInterval": "0s",
    "startPeriod": "0s",
    "timeout": "0s",
    "waitTimeout": 60,
}
"""The provider's defaults, which the engine fills in before it asks the pack; others have none."""
_ORDERED: Final = frozenset({"command", "entrypoints", "tests"})
"""Lists whose order counts."""
_NAMED_BY: Final[Mapping[str, str]] = {
    "devices": "hostPath",
    "hosts": "host",
    "labels": "label",
    "ports": "internal",
    "ulimits": "name",
    "volumes": "containerPath",
}
"""Lists without an order -> the property that names an entry."""
_MAPS: Final = frozenset({"driverOpts", "logOpts", "storageOpts", "sysctls", "tmpfs"})
"""Properties whose keys are no properties, so that an empty value counts."""
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----")
_SHOWN: Final = 120
"""Characters of an expected value in a message."""


@policy(
    DockerContainer,
    obligation="A declared container must be exactly what the stack file makes of it.",
    remedy="Declare in the stack file what is to differ, and make the container by rendered/container.py.",
    severity=Severity.CRITICAL,
)
def containers_as_rendered(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield the first difference of each property and file of a declared container."""
    service = topology.containers_by_name.get(view.inputs.name)
    if service is None or isinstance(service, Slot):
        return
    given = dict(view.resource.inputs)
    held = topology.held_by(service.name)
    paths = (path for each in held for path in (each.authorities, each.certificate, each.key))
    wanted = container(topology, service, view.resource.stack, paths)
    try:
        of_files = env_files.variables(service)
    except env_files.EnvFileError:
        of_files = {}  # `commands judge` works without them; the program does not
    if service.app:
        for key in dict.fromkeys(taken(topology, service, of_files)):
            yield f"services.{service.name}.{key} would replace what {service.app} sets itself; leave it out"
    uploads = given.pop("uploads", None)
    given.pop("networksAdvanced", None)
    yield from _secret_variables(view, given, wanted.secrets, of_files)
    yield from _differences(given, wanted.properties)
    yield from _file_differences(view, uploads, wanted.files)


@policy(
    Volume,
    obligation="A declared service's volume must be exactly what the stack file makes of it.",
    remedy="Declare the file server in the stack file's volumes, and make the volume of it.",
    severity=Severity.CRITICAL,
)
def volumes_as_rendered(view: TypedResource[Volume], topology: TopologyIndex) -> Iterator[str]:
    """Yield the first difference of each property of a volume that a declared service mounts."""
    if (options := topology.volume_options.get(view.inputs.name, _FOREIGN)) is not _FOREIGN:
        given = {key: value for key, value in view.resource.inputs.items() if key != "name"}
        yield from _differences(given, {"driverOpts": options})


_FOREIGN: Final = object()
"""Stands for the options of a volume that no service declares."""


def _secret_variables(
    view: TypedResource[DockerContainer],
    given: dict[str, object],
    secrets: Mapping[str, StackSecret],
    of_files: Mapping[str, str],
) -> Iterator[str]:
    """Take the declared secret variables out of `given`, and yield each that is none, or is not there.

    An exported state has `[secret]` in place of a whole variable, its name included.
    """
    envs, kept, missing = given.get("envs"), [], {**dict.fromkeys(of_files), **secrets}
    for index, env in enumerate(envs if isinstance(envs, list) else ()):
        name, _, value = env.partition("=") if isinstance(env, str) else ("", "", "")
        secret = is_secret(view, ("envs", index))
        if env == HIDDEN and secret and missing:
            missing.popitem()
        elif name in missing and secret and (value == of_files[name] if name in of_files else value):
            del missing[name]
        else:
            kept.append(env)
    given["envs"] = kept if isinstance(envs, list) else envs
    for name, source in missing.items():
        yield f"envs[{name}]: expected the secret {_source(source)}"


def _source(secret: StackSecret | None) -> str:
    return f"{secret.namespace}:{secret.key}" if secret else "of env_file"


def _differences(given: Mapping[str, object], wanted: Mapping[str, object]) -> Iterator[str]:
    """Yield the first difference of each property."""
    for name in sorted(given.keys() | wanted.keys()):
        one, other = (dict(_leaves(name, each.get(name), name)) for each in (given, wanted))
        first = next((at for at in other | one if one.get(at) != other.get(at)), None)
        if first is not None:
            yield _expected(first, other.get(first, _DEFAULTS.get(first)))


def _leaves(name: str, value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield path and value of each leaf, but of properties with the value that they have when left out."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            if name in _MAPS:
                yield f"{path}[{key}]", value[key]
            else:
                yield from _leaves(key, value[key], f"{path}.{key}")
    elif isinstance(value, list):
        for key, entry in _entries(name, value):
            if isinstance(entry, Mapping):
                yield from _leaves("", entry, f"{path}[{key}]")
            else:
                yield f"{path}[{key}]", entry
    elif value is not None and (value != _DEFAULTS[name] if name in _DEFAULTS else value):
        yield path, value


def _entries(name: str, values: list[object]) -> Iterator[tuple[str, object]]:
    """Yield the entries of a list with what tells them apart; a repeated one gets another key."""
    seen = Counter[str]()
    for index, entry in enumerate(values if name in _ORDERED else sorted(values, key=_in_order)):
        key = str(index)
        if name == "envs" and isinstance(entry, str):
            key = entry.partition("=")[0]
        elif name in _NAMED_BY and isinstance(entry, Mapping):
            key = f"{entry.get(_NAMED_BY[name])}".removesuffix(".0")
        seen[key] += 1
        yield key if seen[key] == 1 else f"{key}, {seen[key]}", entry


def _in_order(entry: object) -> str:
    """Return what sorts entries alike, in which order the engine ever hands over their properties."""
    return str(sorted(entry.items())) if isinstance(entry, Mapping) else str(entry)


def _file_differences(
    view: TypedResource[DockerContainer], uploads: object, wanted: Mapping[str, Text | None]
) -> Iterator[str]:
    """Yield the first difference of each uploaded file."""
    missing = dict(wanted)
    if not isinstance(uploads, list | None):
        yield "uploads: expected a list"
    for place, upload in enumerate(uploads if isinstance(uploads, list) else ()):
        file = upload.get("file") if isinstance(upload, Mapping) else None
        if not isinstance(file, str) or not file.isprintable():
            yield f"uploads[{place}].file: expected a path"
            continue
        if file not in missing:
            yield f"{file}: expected {'one upload' if file in wanted else 'nothing'}"
            continue
        rest = {f"{file} {key}": value for key, value in upload.items() if key not in {"file", "content"}}
        yield from _differences(rest, {})
        secret = is_secret(view, ("uploads", place, "content"))
        yield from _content(file, upload.get("content"), missing.pop(file), secret=secret)
    yield from (f"{file}: expected this file" for file in missing)


def _content(file: str, given: object, wanted: Text | None, *, secret: bool) -> Iterator[str]:
    match wanted:
        case str():
            yield from _text(file, given, wanted)
        case StackSecret(namespace, key):
            if not (secret and isinstance(given, str) and given):
                yield f"{file}: expected the secret {namespace}:{key}"
        case PemFile():
            if not _is_pem(given, secret, key=wanted.secret):
                kind = "a private key, as a secret," if wanted.secret else "certificates alone"
                yield f"{file}: expected {kind} from the file that {wanted.key} names"
        case None:
            if given is not UNKNOWN and not _is_pem(given, secret, key=file.endswith("/key.pem")):
                yield f"{file}: expected what components.authorities generates"


def _text(file: str, given: object, wanted: str) -> Iterator[str]:
    """Yield the first line of a text that differs."""
    if given != wanted:
        lines = zip_longest(given.split("\n") if isinstance(given, str) else (), wanted.split("\n"))
        number, line = next((n, other) for n, (one, other) in enumerate(lines, 1) if one != other)
        yield _expected(f"{file} line {number}", line)


def _is_pem(text: object, secret: bool, *, key: bool) -> bool:
    """Whether a text holds a key, as a secret, or certificates alone.

    Without their files `commands judge` has empty texts, and an exported state has `[secret]`.
    """
    if not isinstance(text, str) or (key and not secret):
        return False
    kinds = {*_PEM.findall(text)}
    if key:
        return all(kind.endswith("PRIVATE KEY") or kind == "EC PARAMETERS" for kind in kinds)
    return kinds == {"CERTIFICATE"} or text in {"", HIDDEN}


def _expected(path: str, wanted: object) -> str:
    at = path if path.isprintable() else ascii(path)
    if wanted is None:
        return f"{at}: expected nothing"
    text = str(wanted)
    return f"{at}: expected `{text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'}`"
