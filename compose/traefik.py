"""Traefik's labels in a Compose file: host names, paths, logins and streams of a service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from compose.outcome import Draft, Noted, Outcome, Traefik, listed
from compose.ports import published
from compose.words import misshapen, pairs

_TEXTS: Final = r"\(\s*((?:[`\"'][^`\"']+[`\"']\s*,?\s*)+)\)"
_HOST: Final = re.compile(rf"Host{_TEXTS}")
_PATH: Final = re.compile(rf"PathPrefix{_TEXTS}")
_GLUE: Final = re.compile(r"&&|\|\||[()\s]")
_NAME: Final = re.compile(r"([a-z0-9-]+\.)+[a-z][a-z0-9-]*")
_SEGMENTS: Final = re.compile(r"(/\.?[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_ENTRY: Final = re.compile(r"--entrypoints\.([\w-]+)\.address=[\w.]*:(\d{1,5})(/udp)?", re.IGNORECASE)


@dataclass(frozen=True)
class _Router:
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    is_plain: bool
    """Whether its rule is made of host names and prefixes of paths alone."""
    middlewares: tuple[str, ...]
    port: str
    """Number of the port that it leads to; empty: not said."""


def defined(services: Mapping[str, Any]) -> Traefik:
    """Return the middlewares and entry points of all services of a file; those in odd forms are skipped."""
    middlewares: dict[str, dict[str, str]] = {}
    entrypoints: dict[str, str] = {}
    for service in services.values():
        if not isinstance(service, dict) or misshapen(service):
            continue
        for name, value in _own(service).items():
            if match := re.fullmatch(r"traefik\.http\.middlewares\.([^.]+)\.(.+)", name):
                middlewares.setdefault(match[1], {})[match[2]] = value
        host = {
            port.port: port.host for each in listed(service.get("ports")) for port in published(each) or ()
        }
        for name, number, udp in _ENTRY.findall(" ".join(map(str, listed(service.get("command"))))):
            protocol = "udp" if udp else "tcp"
            outside = host.get(f"{number}/{protocol}", "")
            entrypoints[name.lower()] = f"{outside if outside.isdecimal() else number}/{protocol}"
    return Traefik(middlewares, entrypoints)


def _own(service: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.lower(): str(value)
        for name, value in pairs(service.get("labels")).items()
        if name.lower().startswith("traefik.")
    }


def labels(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    """Take routes, logins and streams from a service's labels."""
    own = _own(service)
    if not own or own.get("traefik.enable", "true").lower() == "false":
        return
    path = f"services.{draft.name}.labels"
    routers = [*_routers(own)]
    known = {
        name: {**outcome.traefik.middlewares.get(name, {})} for each in routers for name in each.middlewares
    }
    _streams(draft, own, outcome)
    ports = [*dict.fromkeys(each.port for each in routers if each.port)]
    first = [each for each in routers if each.port in {"", *ports[:1]}]
    _named(draft, first, known, path, outcome)
    for port in ports[1:]:
        hosts = [host for each in routers if each.port == port for host in each.hosts]
        if hosts:
            draft.pages[int(port)] = hosts[0]
    _logins(draft, own, known)
    asking = [any(_asks(known[name]) for name in each.middlewares) for each in routers]
    if any(asking) and not all(asking):
        outcome.note(f"{path}: some of its routers ask for a login; here all of its routes do")
    if routers or "traefik.enable" in own:
        draft.routes += [(f"{port}/tcp", True, "the Traefik label's port") for port in ports]
        if not ports and not draft.streams:
            draft.routes.append(("", True, "the Traefik labels"))


def _routers(own: Mapping[str, str]) -> Iterator[_Router]:
    """Yield the HTTP routers of labels; a service alone has one router."""
    ports = {
        match[1]: value
        for name, value in own.items()
        if (match := re.fullmatch(r"traefik\.http\.services\.([^.]+)\.loadbalancer\.server\.port", name))
        and value.isdecimal()
    }
    names = dict.fromkeys(
        match[1] for name in own if (match := re.match(r"traefik\.http\.routers\.([^.]+)\.", name))
    )
    for name in names or ([""] if any(each.startswith("traefik.http.") for each in own) else []):
        rule = own.get(f"traefik.http.routers.{name}.rule", "")
        given = own.get(f"traefik.http.routers.{name}.middlewares", "").split(",")
        leads = own.get(f"traefik.http.routers.{name}.service", name).partition("@")[0].lower()
        port = ports.get(leads) or (next(iter(ports.values())) if len(ports) == 1 else "")
        yield _Router(
            hosts=tuple(host for host in _texts(_HOST, rule) if _NAME.fullmatch(host)),
            paths=tuple(dict.fromkeys(each.rstrip("/") for each in _texts(_PATH, rule))),
            is_plain=not _GLUE.sub("", _PATH.sub("", _HOST.sub("", rule))),
            middlewares=tuple(each.strip().partition("@")[0].lower() for each in given if each.strip()),
            port=port,
        )


def _texts(pattern: re.Pattern[str], rule: str) -> list[str]:
    """Return the texts in quotes of each match."""
    return [text for part in pattern.findall(rule) for text in re.findall(r"[`\"']([^`\"',]+)[`\"']", part)]


def _named(
    draft: Draft,
    routers: Iterable[_Router],
    known: Mapping[str, Mapping[str, str]],
    path: str,
    outcome: Outcome,
) -> None:
    """Take host names and paths of the first route."""
    routers = [*routers]
    hosts = [*dict.fromkeys(host for each in routers for host in each.hosts)]
    if hosts:
        draft.keys["host"] = Noted(hosts[0], "certain: the Traefik label's rule")
    if hosts[1:]:
        draft.keys["aliases"] = hosts[1:]
    if not all(each.is_plain for each in routers):
        outcome.note(f"{path}: the rule asks for more than host names and paths, which a route here does not")
    below = [*dict.fromkeys(each for router in routers for each in router.paths)]
    if not below or not all(each.paths for each in routers) or "" in below:
        return
    if not all(map(_SEGMENTS.fullmatch, below)):
        outcome.refuse(path, "has a path that is none here", "write paths, each like /api")
        return
    draft.keys["paths"] = Noted(below, "certain: the Traefik label's rule, by whole segments")
    stripped = [
        each.strip().rstrip("/")
        for options in known.values()
        for each in options.get("stripprefix.prefixes", "").split(",")
        if each.strip()
    ]
    if stripped and {*stripped} == {*below}:
        draft.keys["strip-paths"] = True
    elif stripped:
        outcome.refuse(path, "would take another path off", "let the service serve below its paths")


def _asks(options: Mapping[str, str]) -> bool:
    return any(name.startswith(("basicauth.", "forwardauth.")) for name in options)


def _logins(draft: Draft, own: Mapping[str, str], known: Mapping[str, Mapping[str, str]]) -> None:
    """Take the login by password, and remember the address of one that a service answers."""
    options = {name for each in known.values() for name in each}
    if any(".basicauth." in name for name in own) or any(name.startswith("basicauth.") for name in options):
        draft.keys["login"] = Noted("basic", "certain: the label basicauth; set the secret traefik:users")
    draft.login_at = next(
        (each["forwardauth.address"] for each in known.values() if "forwardauth.address" in each), ""
    )


def logins(drafts: list[Draft], outcome: Outcome) -> None:
    """Name the service that answers for logins at each that asks it, and the path at which it answers."""
    for draft in drafts:
        if not draft.login_at:
            continue
        try:
            url = urlsplit(draft.login_at)
            host, port = url.hostname, url.port or 80
        except ValueError:
            host, port = None, 0
        other = next((each for each in drafts if host in each.aliases and each is not draft), None)
        if other is None or not re.fullmatch(r"/[A-Za-z0-9._~/-]*", url.path or "/") or url.scheme != "http":
            remedy = "write login: <that service>, and forward-auth at it"
            outcome.refuse(
                f"services.{draft.name}.labels", "would ask a service outside this file for logins", remedy
            )
            continue
        draft.keys["login"] = Noted(other.name, "certain: the label forwardauth")
        other.keys["forward-auth"] = Noted(url.path or "/", f"certain: {draft.name}'s label forwardauth")
        other.keys.pop("login", None)
        other.ports.setdefault(f"{port}/tcp")
        if not other.routes:
            other.routes = [
                (f"{port}/tcp", True, f"{draft.name}'s label forwardauth; its login page is there")
            ]


def _streams(draft: Draft, own: Mapping[str, str], outcome: Outcome) -> None:
    """Take routers of TCP and UDP whose entry point and port are known; refuse others."""
    for name in dict.fromkeys(
        match[0] for each in own if (match := re.match(r"traefik\.(?:tcp|udp)\.routers\.[^.]+", each))
    ):
        protocol, router = name.split(".")[1], name.split(".")[3]
        entry = outcome.traefik.entrypoints.get(own.get(f"{name}.entrypoints", "").lower(), "")
        leads = own.get(f"{name}.service", router).lower()
        port = own.get(f"traefik.{protocol}.services.{leads}.loadbalancer.server.port", "")
        anyone = protocol == "udp" or re.fullmatch(r"HostSNI\([`\"']\*[`\"']\)", own.get(f"{name}.rule", ""))
        is_tls = any(each.startswith(f"{name}.tls") for each in own)
        if entry.endswith(f"/{protocol}") and port.isdecimal() and anyone and not is_tls:
            draft.ports[f"{port}/{protocol}"] = None
            draft.streams.append((entry, f"{port}/{protocol}", True, f"the Traefik router {router}"))
        else:
            outcome.refuse(
                f"services.{draft.name}.labels",
                f"would be a route of {protocol.upper()}",
                "write it as one of its streams",
            )
