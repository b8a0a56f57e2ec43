"""Rules for the peers and log paths in the configuration of Prometheus, Promtail, Alloy, Grafana and nginx.

These rules check only that a peer is a declared flow; `policies.flows` checks that the flow works.

Note: a wrong target causes no error message; it looks like a service that is down.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from policies.rule import Severity, policy
from resources.docker import DockerContainer, Upload
from resources.traefik import split
from resources.typed import TypedResource
from topology.host_folders import within
from topology.index import TopologyIndex
from topology.model import App, Flow, Port

_URL = re.compile(r"https?://[^\s;\"']+", re.IGNORECASE)
_PASS = re.compile(r"\b(?:proxy|fastcgi|uwsgi|scgi|grpc|memcached)_pass\s+[\"']?([^\s;\"']+)")
"""Statements of nginx that pass a request on, and to where."""
_UPSTREAM = re.compile(r"\bupstream\s+\S+\s*\{([^}]*)\}")
_SERVER = re.compile(r"\bserver\s+[\"']?([^\s;\"']+)")
_MOVING = frozenset({"__address__", "__scheme__"})
"""Labels by which Prometheus asks another target than the listed one, or in clear."""
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_SECTIONS = {
    "clients": "client",
    "datasources": "data source",
    "remote_write": "remote write",
    "remote_read": "remote read",
}
"""Lists whose entries have a `url`, and what an entry is."""
_ADDRESS = re.compile(r"(?<!external[_.-])(url|endpoint)s?$")
"""The end of the name of a setting or flag whose value is a peer; `external_url` is the program itself."""


@policy(
    DockerContainer,
    obligation="What a service is configured to reach must be a declared flow of it.",
    remedy="Declare the flow, or correct the name and port; list targets instead of discovering them.",
)
def targets_declared(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield configured peers that are no declared flow: they cannot work, or bypass the declaration."""
    container = view.inputs
    source = topology.containers_by_name.get(container.name)
    if source is None:
        return
    flows = {str(flow) for flow in topology.flows_from(source.name)}
    own = {port.number for port in source.ports}
    for file, path, target in (
        *_written(container, topology),
        *_proxied(container, topology),
        *_flagged(container),
    ):
        host, port = end(target)
        if host == source.host or (host in _LOCAL and (path.startswith("promtail") or port in own)):
            continue
        name = topology.by_address.get(host or "") or topology.machines.get(host or "")
        if not name or not port:
            yield f"{file}: {path} names {host or '(nothing)'}, which is no declared service"
        elif str(Flow(source=source.name, destination=name, port=Port(number=port))) not in flows:
            yield f"{file}: {path} names {name}:{port}/tcp, which is no declared flow of {source.name}"
    for file, content in _configurations(container, topology):
        for path in _discoveries(content):
            yield f"{file}: {path} finds undeclared targets"
    yield from () if container.is_proxy(topology) else _unread(container)
    uploads = {upload.file for upload in container.uploads if upload.file.endswith(".alloy")}
    if source.app is App.ALLOY and not uploads & {*container.command}:
        yield "runs no uploaded file of Alloy's, so where it sends can't be known"


@policy(
    DockerContainer,
    obligation="Log paths must lie in folders that are mounted.",
    remedy="Mount the folder read-only, or correct the path.",
    severity=Severity.MEDIUM,
)
def log_paths_mounted(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield log paths outside every mount: they match nothing, without an error."""
    for file, content in _configurations(view.inputs, topology):
        for labels in (group.get("labels") for group in groups(content)):
            path = str(labels.get("__path__", "")) if isinstance(labels, Mapping) else ""
            fixed = posixpath.dirname(path.partition("*")[0])
            if path and not any(within(fixed, bind.target) for bind in view.inputs.binds):
                yield f"{file}: no mount holds the log path {path}"


def _configurations(
    container: DockerContainer, topology: TopologyIndex
) -> tuple[tuple[str, Mapping[str, object]], ...]:
    return () if container.is_proxy(topology) else container.documents


def _written(container: DockerContainer, topology: TopologyIndex) -> Iterator[tuple[str, str, str]]:
    for file, content in _configurations(container, topology):
        yield from ((file, path, target) for path, target in _targets(content))


def _unread(container: DockerContainer) -> Iterator[str]:
    for file, error in container.unread:
        yield f"{file}: {error}, so where it sends can't be known"


def _proxied(container: DockerContainer, topology: TopologyIndex) -> Iterator[tuple[str, str, str]]:
    for upload in () if container.is_proxy(topology) else container.uploads:
        yield from ((upload.file, "proxy_pass", url) for url in passed_on(upload))


def _flagged(container: DockerContainer) -> Iterator[tuple[str, str, str]]:
    for kind, words in (("entrypoints", container.entrypoints), ("command", container.command)):
        for place, (word, after) in enumerate(zip(words, (*words[1:], ""), strict=False)):
            flag, given, value = word.partition("=")
            if word.startswith("-") and _ADDRESS.search(flag):
                yield f"{kind}[{place}]", flag, value if given else after


def passed_on(upload: Upload) -> Iterable[str]:
    """Return where an nginx file passes requests on: its URLs, also those of variables, and its upstreams.

    A destination that is made of variables is returned as it is written, which names no service.
    """
    text = upload.text or ""
    passes = _PASS.findall(text)
    if not passes:
        return ()
    urls = [each for each in _URL.findall(text) if "$" not in each]
    known = {each.lower() for each in urls}
    written = [each for each in passes if not re.fullmatch(r"\$\w+", each) and each.lower() not in known]
    upstreams = [server for block in _UPSTREAM.findall(text) for server in _SERVER.findall(block)]
    return dict.fromkeys([*urls, *written, *upstreams])


def _targets(content: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    promtail = "clients" in content
    for group in groups(content):
        for target in _list(group.get("targets")):
            yield ("promtail " if promtail else "") + "scrape target", str(target)
    for section, what in _SECTIONS.items():
        for entry in mappings(content.get(section)):
            yield what, str(entry.get("url", ""))
    for path, value in _settings({key: value for key, value in content.items() if key not in _SECTIONS}):
        if isinstance(value, str) and _ADDRESS.search(path):
            yield path, value


def _settings(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield path and value of each setting at any depth, but of labels and annotations, which are texts."""
    for key, inner in value.items() if isinstance(value, Mapping) else ():
        if key not in {"labels", "annotations"}:
            at = f"{path}.{key}".lstrip(".")
            yield at, inner
            yield from _settings(inner, at)
    for index, inner in enumerate(_list(value)):
        yield from _settings(inner, f"{path}[{index}]")


def groups(content: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the target groups of Prometheus or Promtail."""
    for job in jobs(content):
        yield from mappings(job.get("static_configs"))


def _discoveries(content: Mapping[str, object]) -> Iterator[str]:
    """Yield the settings that find targets, or change where those that are listed lead to."""
    for path, _ in _settings(content):
        key = path.rpartition(".")[2]
        if key.endswith("_sd_configs") or key == "scrape_config_files":
            yield key
    for job in jobs(content):
        for group in mappings(job.get("static_configs")):
            labels = group.get("labels")
            yield from sorted(_MOVING & labels.keys() if isinstance(labels, Mapping) else ())
        for rule in mappings(job.get("relabel_configs")):
            label = str(rule.get("target_label", ""))
            if str(rule.get("action", "replace")).lower() == "labelmap" or label in _MOVING or "$" in label:
                yield "relabel_configs"


def jobs(content: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the jobs of Prometheus or Promtail, and the groups of Prometheus' alert managers."""
    alerting = content.get("alerting")
    yield from mappings(content.get("scrape_configs"))
    yield from mappings(alerting.get("alertmanagers")) if isinstance(alerting, Mapping) else ()


def mappings(value: object) -> Iterator[Mapping[str, object]]:
    """Yield the mappings of a list, ignoring other items; none if the value is no list."""
    yield from (each for each in _list(value) if isinstance(each, Mapping))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def end(target: str) -> tuple[str | None, int | None]:
    """Return host and port of a target or URL."""
    parts = split(target)
    try:
        return parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return parts.hostname, None
