"""What is watched from the probe zone, and when that is an alert: made from the declared flows alone.

Owns the probes (what is asked of Docker-SRV, as a stranger asks) and the alert rules about them and about the
last run of the live probe. Blackbox exporter's modules and Prometheus's jobs are made from the same probes.
What a reader would get wrong: a port that must not answer is a probe that must fail, which proves something
only while the control beside it, port 443, succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from topology.model import App, Port, Protocol, Topology

HTTP, HTTPS = Port(number=80), Port(number=443)
JOB = "probe"
"""Prometheus's job for every probe."""
_DAY = 86_400


class Kind(StrEnum):
    """What a probe is for, and the name of Blackbox exporter's module for it."""

    ROUTE = "route"
    REDIRECT = "redirect"
    UNKNOWN_HOST = "unknown-host"
    CONTROL = "control"
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One question to Docker-SRV. `name` is what alerts call it, `host` the host name that HTTP asks for."""

    kind: Kind
    name: str
    target: str
    service: str
    host: str = ""


def address(topology: Topology) -> str:
    """Docker-SRV as the probe zone sees it: where its ports are published, else the zone's own gateway."""
    own = topology.docker.address
    return str(topology.probes[0].gateway if own.is_unspecified else own)


def probes(topology: Topology) -> tuple[Probe, ...]:
    """Every probe; none without a probe zone."""
    if not topology.probes:
        return ()
    at, ingress, found = address(topology), topology.ingress.name, list[Probe]()
    if HTTPS in topology.published:
        found.append(Probe(kind=Kind.CONTROL, name=f"{at}:443", target=f"{at}:443", service=ingress))
        found += [
            Probe(
                kind=Kind.ROUTE,
                name=f"https://{route.host}/",
                target=f"https://{at}/",
                service=route.service,
                host=route.host,
            )
            for route in topology.routes
        ]
    if topology.routes and {HTTP, HTTPS} <= set(topology.published):
        first, unknown = topology.routes[0].host, f"nobody.{topology.domain}"
        found += [
            Probe(
                kind=Kind.REDIRECT,
                name=f"http://{first}/",
                target=f"http://{at}/",
                service=ingress,
                host=first,
            ),
            Probe(
                kind=Kind.UNKNOWN_HOST,
                name=f"https://{unknown}/",
                target=f"https://{at}/",
                service=ingress,
                host=unknown,
            ),
        ]
    found += [
        Probe(
            kind=Kind.CLOSED,
            name=f"{at}:{port.number}",
            target=f"{at}:{port.number}",
            service=container.name,
        )
        for container in topology.containers
        if container != topology.ingress
        for port in container.ports
        if port.protocol is Protocol.TCP and port not in topology.published
    ]
    return tuple(found)


def rules(topology: Topology) -> dict[str, object]:
    """Alert rules as Prometheus reads them; every alert holds for two probes before it fires."""
    every, count = topology.docker.probe_every, len(probes(topology))
    success, last = f'probe_success{{job="{JOB}"}}', "verify_last_run_timestamp_seconds"
    age = 2 * topology.docker.verify_every if topology.docker.verify_every else _DAY
    probe = [
        _alert(
            "BackendPortAnswers",
            f'probe_success{{job="{JOB}", kind="{Kind.CLOSED}"}} == 1',
            "{{ $labels.service }} answers on {{ $labels.instance }}, where the ingress alone may",
        ),
        _alert(
            "RouteFails",
            f'probe_success{{job="{JOB}", kind="{Kind.ROUTE}"}} == 0',
            "{{ $labels.instance }} does not serve {{ $labels.service }}",
        ),
        _alert(
            "IngressAnswersWrongly",
            f'probe_success{{job="{JOB}", kind=~"{Kind.REDIRECT}|{Kind.UNKNOWN_HOST}"}} == 0',
            "{{ $labels.instance }} gets another answer than the {{ $labels.kind }} one",
        ),
        _alert(
            "ControlFails",
            f'probe_success{{job="{JOB}", kind="{Kind.CONTROL}"}} == 0',
            "{{ $labels.instance }} does not answer, so the silence of other ports proves nothing",
        ),
        _alert(
            "ProbeSilent",
            f"count by (job) ({success}) < {count} or absent({success})",
            f"fewer than the {count} probes of Docker-SRV report, so nobody watches it",
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
