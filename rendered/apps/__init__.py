"""How each known app runs in a container: one function an app, from the topology to a Runtime."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from posixpath import dirname
from typing import Final

from rendered import nginx
from rendered.apps.alertmanager import alertmanager
from rendered.apps.alloy import alloy
from rendered.apps.blackbox_exporter import blackbox_exporter
from rendered.apps.exporters import cadvisor, node_exporter
from rendered.apps.grafana import grafana
from rendered.apps.logs import loki, loki_gateway, promtail
from rendered.apps.machine_page import machine_page
from rendered.apps.prometheus import prometheus, prometheus_ui
from rendered.apps.traefik import traefik
from rendered.runtime import Runtime, stack_secret
from topology.host_folders import within
from topology.model import App, Container, Topology, table

RUNTIMES: Final[Mapping[App, Callable[[Topology, Container], Runtime]]] = table(
    "RUNTIMES",
    App,
    {
        App.TRAEFIK: traefik,
        App.GRAFANA: grafana,
        App.PROMETHEUS: prometheus,
        App.PROMETHEUS_UI: prometheus_ui,
        App.NODE_EXPORTER: node_exporter,
        App.BLACKBOX_EXPORTER: blackbox_exporter,
        App.CADVISOR: cadvisor,
        App.ALERTMANAGER: alertmanager,
        App.LOKI: loki,
        App.LOKI_GATEWAY: loki_gateway,
        App.PROMTAIL: promtail,
        App.ALLOY: alloy,
        App.MACHINE_PAGE: machine_page,
    },
)


def runtime(topology: Topology, service: Container) -> Runtime:
    """Return how the service's app runs, with what the stack file gives it besides; the app's own wins.

    A service without an app runs its image with what the stack file gives it alone.
    """
    made = _own(topology, service)
    plain = {name: value for name, value in service.environment.items() if isinstance(value, str)}
    secrets = {path: stack_secret(key) for path, key in service.secrets.items()}
    return replace(
        made,
        command=(*made.command, *service.arguments),
        environment={**plain, **made.environment},
        files={**service.files, **secrets, **made.files},
    )


def taken(topology: Topology, service: Container, variables: Iterable[str] = ()) -> Iterator[str]:
    """Yield the keys of the stack file that would replace what the service's app sets itself.

    `variables` are the names of the variables that the service's files set. A volume in a folder of the app's
    configuration counts, because apps read all files there, and so does another service's in its data.
    """
    made = _own(topology, service)
    flags = {_flag(word) for word in made.command}
    yield from (f"environment.{name}" for name in service.environment if name in made.environment)
    yield from ("env_file" for name in variables if name in made.environment)
    for key, paths in (("files", service.files), ("secrets", service.secrets)):
        yield from (f'{key}["{path}"]' for path in paths if path in made.files)
    mounted, named = {*made.data, *made.host_paths, *made.files}, {*made.data.values()}
    read, borrowed = {*map(dirname, made.files)}, topology.named_volumes.borrowed(service)
    for index, each in enumerate(service.volumes):
        inner = {*read, *(made.data if each.source in borrowed else ())}
        over = any(within(path, each.target) for path in mounted)
        if over or each.source in named or any(within(each.target, path) for path in inner):
            yield f"volumes[{index}]"
    for index, word in enumerate(service.arguments):
        # The filtering proxies are nginx, which takes any file after -c.
        if made.command == nginx.COMMAND or _flag(word) in flags:
            yield f"arguments[{index}]"


def _own(topology: Topology, service: Container) -> Runtime:
    made = RUNTIMES[service.app](topology, service) if service.app else Runtime()
    return replace(made, name_servers=topology.name_servers(service))


def _flag(word: str) -> str:
    return word.partition("=")[0].lstrip("-")
