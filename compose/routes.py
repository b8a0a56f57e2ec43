"""Ports of a service: its route, further pages, and streams for what else Compose would publish."""

from __future__ import annotations

from typing import Any, Final

from compose.known import BROADCASTS, INNER, NOT_WEB, known
from compose.outcome import Draft, Outcome, listed
from compose.ports import ComposePort, published

_PAGES: Final = frozenset({80, 443})
"""The ingress's own ports, for pages."""


def ports(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    """Take what a service listens on, and propose its route; what else is published is refused."""
    found = known(draft.image)
    for each in listed(service.get("expose")):
        for port in published(each) or ():
            draft.ports[port.port] = None
    opened: list[ComposePort] = []
    for index, each in enumerate(listed(service.get("ports"))):
        ports = published(each)
        if ports is None:
            path = f"services.{draft.name}.ports[{index}]"
            outcome.refuse(path, "is no port, or a range of many", "write each port, like 8080:80")
        opened += ports or ()
    draft.ports |= dict.fromkeys(each.port for each in opened)
    if found and (not draft.ports or found.port not in draft.ports):
        draft.ports[found.port] = None
    labelled = [port for port, *_ in draft.routes if port]
    draft.ports |= dict.fromkeys(labelled)
    if draft.routes and not labelled:
        first = next((port for port in draft.ports if port.endswith("/tcp")), None)
        draft.routes = [(first, True, "the Traefik labels")] if first else []
        if not first:
            outcome.refuse(
                f"services.{draft.name}.ports",
                "does not say what the Traefik labels route to",
                "write expose",
            )
    _opened(draft, opened, outcome)


def _opened(draft: Draft, opened: list[ComposePort], outcome: Outcome) -> None:
    """Propose a route for the first port of pages, pages for others, and a stream for each further port."""
    path = f"services.{draft.name}.ports"
    web = [p for p in opened if p.protocol == "tcp" and p.number not in NOT_WEB and not p.is_local]
    web.sort(key=lambda p: p.number in {443, 8443, 9443})
    if web and not draft.routes:
        draft.routes = [(web[0].port, False, f"ports publishes {web[0].port}, which looks like web pages")]
    taken = {port for port, *_ in draft.routes} | {port for _, port, *_ in draft.streams}
    for port in opened:
        if port.port in taken:
            continue
        if port.is_local:
            outcome.note(
                f"{path}: {port.port} was for the host alone, and is not published; use SSH to the host"
            )
        elif port in web and port.number in {443, 8443, 9443}:
            outcome.note(f"{path}: {port.port} is not published; the ingress serves its pages by TLS")
        elif port.protocol == "udp" and port.number == 443:  # noqa: PLR2004
            outcome.note(f"{path}: {port.port} is not published; the ingress serves its pages")
        elif outcome.keeps and port in web:
            named = f"pages: {{'{port.number}': {draft.name}-{port.number}}}"
            remedy = f"if people need it, write {named} and a flow from traefik"
            outcome.refuse(path, f"{port.port} would be a second route", remedy)
        elif outcome.keeps:
            draft.published.append((port.host, port.port))
        elif port in web:
            draft.pages[port.number] = f"{draft.name}-{port.number}"
            draft.routes.append(
                (port.port, False, f"ports publishes {port.port}, which looks like web pages")
            )
        else:
            _streamed(draft, port, outcome)


def _streamed(draft: Draft, port: ComposePort, outcome: Outcome) -> None:
    """Propose a stream; refuse a database's, one of broadcasts, and one on the ingress's ports for pages."""
    number = int(port.host) if port.host.isdecimal() and int(port.host) else port.number
    if port.number in INNER or (port.protocol == "tcp" and number in _PAGES):
        outcome.refuse(
            f"services.{draft.name}.ports",
            f"{port.port} would be published past the ingress, whose routes are HTTP",
            "let who asks it have a flow; for people outside write streams with another port of the ingress",
        )
        return
    if port.protocol == "udp" and port.number in BROADCASTS:
        outcome.refuse(
            f"services.{draft.name}.ports",
            f"{port.port} is for broadcasts or multicast, which pass no ingress",
            "leave it out; what must hear them is a guest on the LAN's VLAN",
        )
        return
    why = f"ports publishes {port.port}, which looks like no web pages"
    draft.streams.append((f"{number}/{port.protocol}", port.port, False, why))
