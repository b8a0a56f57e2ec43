"""The probes of Docker-SRV from the probe zone and the alert rules, both generated from the declared flows.

The rules cover the probes and the last run of the live probe. Blackbox exporter's modules and Prometheus's
jobs are generated from the same probes.

Note: a closed port is a probe that must fail, which is conclusive only while the control probe of port 443
succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from topology.model import HTTP, HTTPS, SSH, App, Protocol, Topology

JOB = "probe"
"""Prometheus's job name of every probe."""
_DAY = 86_400


class ProbeKind(StrEnum):
    """Purpose of a probe, and the name of its module in Blackbox exporter."""

    ROUTE = "route"
    REDIRECT = "redirect"
    UNKNOWN_HOST = "unknown-host"
    CONTROL = "control"
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True)
class WatchProbe:
    """One probe of Docker-SRV. `name` identifies it in alerts, `host` is the HTTP request's host name."""

    kind: ProbeKind
    name: str
    target: str
    service: str
    host: str = ""


def address(topology: Topology) -> str:
    """Return Docker-SRV's address for the probe zone: its published address, else the zone's gateway."""
    own = topology.docker.address
    return str(topology.probes[0].gateway if own.is_unspecified else own)


def probes(topology: Topology) -> tuple[WatchProbe, ...]:
    """Return every probe; none without a probe zone."""
    if not topology.probes:
        return ()
    at, ingress, found = address(topology), topology.ingress.name, list[WatchProbe]()
    if HTTPS in topology.public:
        found.append(
            WatchProbe(kind=ProbeKind.CONTROL, name=f"{at}:443", target=f"{at}:443", service=ingress)
        )
        found += [
            WatchProbe(
                kind=ProbeKind.ROUTE,
                name=f"https://{route.host}{route.path}",
                target=f"https://{at}{route.path}",
                service=route.service,
                host=route.host,
            )
            for route in topology.routes
            if HTTPS.number in route.ports
        ]
    if topology.routes and {HTTP, HTTPS} <= set(topology.public):
        first, unknown = topology.routes[0].host, f"nobody.{topology.domain}"
        found += [
            WatchProbe(
                kind=ProbeKind.REDIRECT,
                name=f"http://{first}/",
                target=f"http://{at}/",
                service=ingress,
                host=first,
            ),
            WatchProbe(
                kind=ProbeKind.UNKNOWN_HOST,
                name=f"https://{unknown}/",
                target=f"https://{at}/",
                service=ingress,
                host=unknown,
            ),
        ]
    found += [
        WatchProbe(
            kind=ProbeKind.CLOSED,
            name=f"{at}:{port.number}",
            target=f"{at}:{port.number}",
            service=container.name,
        )
        # Sorted: the engine passes services sorted by name, a stack file in its own order.
        for container in sorted(topology.containers, key=attrgetter("name"))
        if container != topology.ingress
        for port in container.ports
        # Docker-SRV's own programs may answer on their ports; a container that published one would not start.
        if port.protocol is Protocol.TCP and port not in {SSH, *topology.docker.ports, *topology.published}
    ]
    return tuple(found)


def rules(topology: Topology) -> dict[str, object]:
    """Return Prometheus's alert rules. Each condition must hold for two probe intervals before it fires."""
    every, count = topology.docker.probe_every, len(probes(topology))
    success, last = f'probe_success{{job="{JOB}"}}', "verify_last_run_timestamp_seconds"
    age = 2 * topology.docker.verify_every if topology.docker.verify_every else _DAY
    probe = [
        _alert(
            "BackendPortAnswers",
            f'probe_success{{job="{JOB}", kind="{ProbeKind.CLOSED}"}} == 1',
            "{{ $labels.service }} answers on {{ $labels.instance }}, where the ingress alone may",
        ),
        _alert(
            "RouteFails",
            f'probe_success{{job="{JOB}", kind="{ProbeKind.ROUTE}"}} == 0',
            "{{ $labels.instance }} does not serve {{ $labels.service }}",
        ),
        _alert(
            "IngressAnswersWrongly",
            f'probe_success{{job="{JOB}", kind=~"{ProbeKind.REDIRECT}|{ProbeKind.UNKNOWN_HOST}"}} == 0',
            "{{ $labels.instance }} gets another answer than the {{ $labels.kind }} one",
        ),
        _alert(
            "ControlFails",
            f'probe_success{{job="{JOB}", kind="{ProbeKind.CONTROL}"}} == 0',
            "{{ $labels.instance }} does not answer, so the silence of other ports proves nothing",
        ),
        _alert(
            "ProbeSilent",
            f"count by (job) ({success}) < {count} or absent({success})",
            f"fewer than the {count} probes of Docker-SRV report, so it is not watched",
        ),
    ]
    verify = [
        _alert(
            "VerifyDisagrees",
            'verify_last_run_cells{verdict="disagrees"} > 0',
            "{{ $value }} cells of the live network are not as the declared flows say",
        ),
        _alert(
            "VerifyInconclusive",
            'verify_last_run_cells{verdict="inconclusive"} > 0',
            "{{ $value }} cells of the live network could not be judged",
        ),
        _alert(
            "VerifyTooOld",
            f"time() - {last} > {age} or absent({last})",
            f"the live probe did not run within {age} seconds",
        ),
    ]
    told = any(container.app is App.NODE_EXPORTER for container in topology.containers)
    groups = {"probe": probe if count else [], "verify": verify if told else []}
    return {
        "groups": [
            {
                "name": name,
                "interval": f"{every}s",
                "rules": [
                    {"alert": alert, "expr": expr, "for": f"{2 * every}s", **rest}
                    for alert, expr, rest in group
                ],
            }
            for name, group in groups.items()
            if group
        ]
    }


def _alert(name: str, expr: str, summary: str) -> tuple[str, str, dict[str, object]]:
    return name, expr, {"labels": {"severity": "critical"}, "annotations": {"summary": summary}}
