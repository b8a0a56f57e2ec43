"""Routes and ports of a service: Traefik's labels, and what Compose would publish."""

from __future__ import annotations

import re
from typing import Any, Final

from compose.known import NOT_WEB, known
from compose.outcome import Draft, Noted, Outcome, listed
from compose.ports import ComposePort, published
from compose.words import pairs

_RULE: Final = re.compile(r"Host\(\s*((?:[`\"'][^`\"']+[`\"']\s*,?\s*)+)\)")


def labels(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    """Take host names and port from Traefik's labels."""
    own = {
        name.lower(): str(value)
        for name, value in pairs(service.get("labels")).items()
        if name.lower().startswith("traefik.")
    }
    if not own or own.get("traefik.enable", "true").lower() == "false":
        return
    path = f"services.{draft.name}.labels"
    hosts = [
        host
        for name, rule in own.items()
        if re.fullmatch(r"traefik\.http\.routers\.[^.]+\.rule", name)
        for part in _RULE.findall(rule)
        for host in re.findall(r"[`\"']([^`\"']+)", part)
        if host.strip(", ")
    ]
    valid = [host for host in dict.fromkeys(hosts) if re.fullmatch(r"([a-z0-9-]+\.)+[a-z][a-z0-9-]*", host)]
    if valid:
        draft.keys["host"] = Noted(valid[0], "certain: the Traefik label's rule")
    if valid[1:]:
        draft.keys["aliases"] = valid[1:]
    if any("PathPrefix" in rule or "Path(" in rule for rule in own.values()):
        outcome.note(f"{path}: the rule has a path; a route here is for all paths of its host name")
    if any(".basicauth." in name for name in own):
        draft.keys["login"] = Noted("basic", "certain: the label basicauth; set the secret traefik:users")
    if any(".forwardauth." in name for name in own):
        outcome.refuse(
            path,
            "would ask another service for logins",
            "write login: <that service>, and forward-auth at it",
        )
    if any(name.startswith(("traefik.tcp.", "traefik.udp.")) for name in own):
        outcome.refuse(path, "would be a route of TCP or UDP", "write it as one of its streams")
    ports = [value for name, value in own.items() if name.endswith(".loadbalancer.server.port")]
    if any(name.startswith("traefik.http.") for name in own) or "traefik.enable" in own:
        draft.routes += [
            (f"{port}/tcp", True, "the Traefik label's port") for port in ports if port.isdecimal()
        ]
        if not ports:
            draft.routes.append(("", True, "the Traefik labels"))


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
    """Propose a route for the first port of pages; refuse, or note, the others that would be published."""
    path = f"services.{draft.name}.ports"
    web = [p for p in opened if p.protocol == "tcp" and p.number not in NOT_WEB and not p.is_local]
    web.sort(key=lambda p: p.number in {443, 8443, 9443})
    if web and not draft.routes:
        draft.routes = [(web[0].port, False, f"ports publishes {web[0].port}, which looks like web pages")]
    routed = {port for port, *_ in draft.routes}
    for port in opened:
        if port.port in routed:
            continue
        if port.is_local:
            outcome.note(
                f"{path}: {port.port} was for the host alone, and is not published; use SSH to the host"
            )
        elif port in web and port.number in {443, 8443, 9443}:
            outcome.note(f"{path}: {port.port} is not published; the ingress serves its pages by TLS")
        elif port in web:
            named = f"pages: {{{port.number}: {draft.name}-{port.number}}}"
            remedy = f"if people need it, write {named} and a flow from traefik"
            outcome.refuse(path, f"{port.port} would be a second route", remedy)
        elif port.protocol == "udp" and port.number == 443:  # noqa: PLR2004
            outcome.note(f"{path}: {port.port} is not published; the ingress serves its pages")
        elif outcome.keeps:
            draft.published.append((port.host, port.port))
        else:
            number = port.host if port.host.isdecimal() else port.number
            end = f"{number}/{port.protocol}"
            remedy = (
                "other containers reach it by a flow; for people and machines outside write "
                f"streams: ['{number}:{port.port}'], and who may use it, like management -> traefik:{end}"
            )
            outcome.refuse(
                path, f"{port.port} would be published past the ingress, whose routes are HTTP", remedy
            )
