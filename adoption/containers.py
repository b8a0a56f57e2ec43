"""The Docker half of a stack file: services in Compose's words, zones, flows and what should not stay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

from adoption.names import Names
from adoption.source import Source
from adoption.stack import Stack
from adoption.zones import EDGE, Box, Zones, addresses, placed
from compose import links, service
from compose.keys import keep
from compose.lines import keys_of
from compose.mounts import Place, key_of
from compose.outcome import Draft, Link, Noted, Outcome
from compose.secrecy import is_secret
from compose.words import misshapen
from reachability.result import EdgeKind
from survey.docker import RunningContainer
from survey.site import RunningSite
from topology.model import INTERNET, VOLUME_NAME
from topology.versions import software

INGRESS_IMAGE: Final = "traefik:v3.7.18"
"""A Traefik that knows every setting of the ingress."""
_TRAEFIK: Final = "traefik"
_AUTOMATIC: Final = re.compile(r"[-_]\d+$")
_NAMED: Final = re.compile(r"([a-z0-9-]+\.)*([a-z0-9-]+\.[a-z]{2,})", re.ASCII)
_RESOLVER: Final = re.compile(r"--certificatesresolvers\.[^.]+\.acme\.", re.IGNORECASE)
_PROVIDER: Final = re.compile(rf"{_RESOLVER.pattern}dnschallenge\.provider=([a-z0-9]+)", re.IGNORECASE)
_CREDENTIAL: Final = re.compile(r"[A-Z][A-Z0-9_]*")


class DockerHalf:
    """One engine's containers on their way into a stack file."""

    def __init__(self, site: RunningSite, sources: Sequence[Source], stack: Stack, names: Names) -> None:
        self._site, self._stack, self._names = site, stack, names
        self._sources = [
            each for each in sources if each.name in {seen.name for seen in site.docker.containers}
        ]
        self._outcome = Outcome(keeps=True)
        self._boxes: list[Box] = []
        self._running = next(self._proxies(), None)
        self._ingress = names.give(self._running.name if self._running else _TRAEFIK)

    def write(self, outside: str, taken: list[IPv4Network]) -> list[str]:
        """Put the half into the stack, used from `outside`; returns texts that must stay hidden."""
        self._boxes = list(self._drafted())
        drafts = [box.draft for box in self._boxes]
        found = list(self._links())
        hidden = keep(drafts, self._secrets_left_out(), self._outcome)
        self._keep_apart(found)
        self._route()
        proxied = [leg.name for seen in self._proxies() for leg in seen.container.legs]
        zones = placed(self._boxes, self._site.docker.networks, proxied, taken)
        self._stack.zones |= dict(zones.entries())
        self._stack.domain = self._domain() or self._stack.domain
        self._serve(zones, outside)
        for box in self._boxes:
            self._stack.services[box.draft.name] = self._keys(box, zones)
            self._tell_old_names(box)
        self._flow(found, zones)
        for each in self._outcome.exceptions:
            reason = each["reason"].replace(", because …", " today")
            self._stack.excepted(each["rule"], each["resource"], f"as found: {reason}")
        self._stack.volumes |= self._outcome.volumes
        self._stack.left_out += self._outcome.refused
        self._stack.notes += self._outcome.notes
        self._stack.commands += list(self._handed_over())
        return hidden

    # ------------------------------------------------------------------------------------------- services

    def _drafted(self) -> Iterator[Box]:
        """Yield each container that can be declared; what can't is among the refusals."""
        place = self._place()
        called = dict(self._called())
        projects = {(each.project, each.service): each.name for each in self._sources if each.service}
        for each in self._sources:
            name = called[each.name]
            words = {**each.words, "image": each.words.get("image", "")}
            waits = words.pop("depends_on", {})
            if self._is_on_the_lan(each):  # every port is as if it were published
                ports = [text.split("/") for text in words.get("expose", ())]
                words["ports"] = [
                    {"target": t, "published": t, "protocol": p} for t, p in ports if p != "sctp"
                ]
            words["volumes"] = list(self._named(name, words.get("volumes", ())))
            if key := misshapen(words):
                self._outcome.refuse(f"services.{name}.{key}", "has no form of Compose's", "write it by hand")
                continue
            try:
                draft = service.take(name, each.service or each.name, words, place, self._outcome)
            except (AttributeError, TypeError, ValueError, KeyError):
                remedy = "declare it by hand"
                self._outcome.refuse(f"services.{name}", "has a setting of an unknown form", remedy)
                continue
            if draft is None:
                continue
            draft.waits = {
                projects[each.project, other]: options["condition"]
                for other, options in waits.items()
                if (each.project, other) in projects
            }
            if not words.get("read_only"):
                draft.keys["read_only"] = False
                self._outcome.need("root-read-only", name, "its root file system can be written today")
            if words["image"].endswith(":as-surveyed"):
                told = f"guessed: names no version; docker tag {each.image} {words['image']}"
                draft.keys["image"] = Noted(words["image"], told)
            if isinstance(draft.keys["memory"], Noted):
                told = "guessed: it has no limit today; MiB, and `docker stats` tells what it uses"
                draft.keys["memory"] = Noted(1024, told)
            yield Box(draft, each.name, each.networks)
        self._outcome.volumes = place.used
        if unread := [called[each.name] for each in self._sources if each.unread]:
            told = "its image can't be read, so settings of the image are among its keys"
            self._outcome.note(f"services {', '.join(unread)}: {told}")

    def _called(self) -> Iterator[tuple[str, str]]:
        """Yield each container's name with its service's: its own, or Compose's where that chose the name."""
        services = Counter(each.service for each in self._sources)
        for each in self._sources:
            chosen = each.name
            if each.service and services[each.service] == 1 and _AUTOMATIC.search(each.name):
                chosen = each.service
            is_ingress = self._running is not None and each.name == self._running.name
            yield each.name, self._ingress if is_ingress else self._names.give(chosen)

    def _named(self, name: str, mounts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the mounts that a file can name: Docker's own names for volumes are longer than it takes."""
        for each in mounts:
            if each["type"] == "volume" and not VOLUME_NAME.fullmatch(each["source"]):
                remedy = f"copy what is at {each['target']} into a volume with a name, and mount that"
                self._outcome.refuse(
                    f"services.{name}.volumes", "is a volume without a name of its own", remedy
                )
            else:
                yield each

    def _is_on_the_lan(self, each: Source) -> bool:
        """Whether a container has the host's own addresses, or some of its own outside."""
        drivers = {network.name: network.driver for network in self._site.docker.networks}
        outside = {drivers.get(name) for name in each.networks} & {"macvlan", "ipvlan"}
        return each.words.get("network_mode") == "host" or bool(outside)

    def _keep_apart(self, found: Iterable[Link]) -> None:
        """Give a service a secret's key of its own, but where it has flows with all that hold the same."""
        linked = [{link.source, link.destination} for link in found]
        holders: dict[str, list[str]] = {}
        for box in self._boxes:
            for name, value in box.draft.keys.get("environment", {}).items():
                if isinstance(value, dict):
                    key, own = value["secret"], box.draft.name
                    if not all(each == own or {each, own} in linked for each in holders.get(key, ())):
                        key = key_of(own, name)
                        box.draft.keys["environment"][name] = {"secret": key}
                    holders.setdefault(key, []).append(own)

    def _place(self) -> Place:
        """Return the section `volumes`: each named volume is there already."""
        mounts = [mount for each in self._sources for mount in each.words.get("volumes", ())]
        names = {mount["source"] for mount in mounts if mount["type"] == "volume"}
        return Place(Path(), {name: {"external": True} for name in names}, {}, {}, {}, frozenset(), {})

    def _keys(self, box: Box, zones: Zones) -> dict[str, Any]:
        """Return a service's keys as the file says them."""
        draft = box.draft
        draft.zones = box.zones
        near = [each.draft for each in self._near(box)]
        waits = {}
        for name, condition in draft.waits.items():
            other = next((each.draft for each in self._boxes if each.container == name), None)
            checked = other is not None and bool((other.keys.get("healthcheck") or {}).get("test"))
            if other is not None:
                waits[other.name] = {"condition": condition if checked else "service_started"}
        if waits:
            draft.keys["depends_on"] = waits
        if fixed := addresses(box, zones):
            draft.keys["addresses"] = fixed
        if draft.published:
            draft.keys["streams"] = [f"{host}:{port}" for host, port in draft.published]
        return keys_of(draft, near)

    def _tell_old_names(self, box: Box) -> None:
        """Note each secret and argument that names a neighbour otherwise than it is called here."""
        near = [each.draft for each in self._near(box)]
        for place, name, text in box.draft.texts:
            if isinstance(box.draft.keys.get("environment", {}).get(name), str):
                continue  # has the new name
            for alias, new in links.old_names(text, near, name):
                told = f"{place} names {alias}, which is called {new} here"
                self._outcome.note(f"services.{box.draft.name}: {told}; correct it, or it finds no {alias}")

    def _near(self, box: Box) -> list[Box]:
        """Return the boxes on one of a box's networks, whose names it finds; itself included."""
        return [each for each in self._boxes if each is box or set(each.networks) & set(box.networks)]

    def _secrets_left_out(self) -> list[str]:
        """Return secrets of containers that are not declared, which must be hidden as well."""
        return [
            value
            for each in self._sources
            for name, value in each.words.get("environment", {}).items()
            if is_secret(name, str(value))
        ]

    # ------------------------------------------------------------------------------------------- flows

    def _links(self) -> Iterator[Link]:
        """Yield flows that variables, arguments and the order of services name, between neighbours."""
        seen: dict[str, Link] = {}
        for network in dict.fromkeys(name for box in self._boxes for name in box.networks):
            group = [box.draft for box in self._boxes if network in box.networks]
            for each in links.links(group, self._outcome):
                before = seen.get(each.flow)
                if before is None or (each.is_certain and not before.is_certain):
                    seen[each.flow] = each
        yield from seen.values()

    def _route(self) -> None:
        """Give each container the routes that an existing Traefik has for it by its files."""
        known = {box.container: box.draft for box in self._boxes}
        names = {name: seen.name for name, seen in self._site.names.items()}
        for reach in self._site.reachability.connection_sets():
            draft = known.get(names.get(reach.destination, ""))
            if reach.how is EdgeKind.PROXIED and draft and reach.port and not _is_certain(draft):
                draft.routes = [(str(reach.port), True, f"{reach.origin} of the Traefik that runs")]
                draft.ports.setdefault(str(reach.port), None)

    def _serve(self, zones: Zones, outside: str) -> None:
        """Put the ingress into the stack, with its ports and who uses them today."""
        running, near = self._running, outside
        self._stack.tls = self._tls()
        if "acme" in self._stack.tls:
            outside = INTERNET
            for port in ("443/tcp", "53/udp"):
                self._stack.flow(f"{self._ingress} -> {INTERNET}:{port}", "certain: for the ACME server")
        told = f"in place of {running.container.image}" if running else "new: nothing served pages by names"
        why = "certain: published today" if running else "guessed: pages are served by name here"
        entries = [("80", "80/tcp"), ("443", "443/tcp")]
        for _, port in entries:
            self._stack.flow(f"{outside} -> {self._ingress}:{port}", why)
        for box in self._boxes:
            box.draft.published = list(self._streams(box, near, entries))
        ports = [int(port.removesuffix("/tcp")) if port.endswith("/tcp") else port for _, port in entries]
        self._stack.services[self._ingress] = {
            "app": "traefik",
            "zones": [EDGE, *zones.frontends],
            "image": Noted(INGRESS_IMAGE, told),
            "ports": ports,
        }

    def _streams(self, box: Box, outside: str, entries: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Yield a container's published ports that become streams, and propose their flows until a day."""
        for host, port in box.draft.published:
            entry = f"{host}/{port.partition('/')[2]}"
            if (host, entry) in entries or not host.isdecimal():
                self._outcome.refuse(
                    f"services.{box.draft.name}.streams", f"{entry} is taken", "choose another port"
                )
                continue
            entries.append((host, entry))
            self._stack.passing(f"{outside} -> {self._ingress}:{entry}", "published to every machine today")
            self._stack.passing(
                f"{self._ingress} -> {box.draft.name}:{port}", "published to every machine today"
            )
            yield host, port

    def _flow(self, found: Iterable[Link], zones: Zones) -> None:
        """Propose routes and links, and name those without TLS."""
        for box in self._boxes:
            for port, certain, why in box.draft.routes[:1]:
                text = f"{self._ingress} -> {box.draft.name}:{port}"
                self._stack.flow(text, f"{'certain' if certain else 'guessed'}: {why}")
        shared = {box.draft.name: set(box.zones) for box in self._boxes}
        for link in found:
            if not shared[link.source] & shared[link.destination]:
                self._outcome.note(f"{link.flow}: they will share no network; {link.comment}")
                continue
            self._stack.flow(link.flow, link.comment)
            if not shared[link.destination] & set(zones.frontends):
                self._stack.unencrypted.append({"flow": link.flow, "reason": "nothing found sets up TLS"})
        own = {f"{box.draft.name}.{self._stack.domain}" for box in self._boxes}
        for box in self._boxes:
            if place := links.going_out(box.draft, own):
                line = (
                    f"{box.draft.name} -> {INTERNET}:443/tcp # guessed: {place} is a URL of another machine"
                )
                self._stack.proposed.append(line)

    def _proxies(self) -> Iterator[RunningContainer]:
        return (each for each in self._site.docker.containers if software(each.container.image) == _TRAEFIK)

    def _tls(self) -> dict[str, Any]:
        """Return ACME settings like those of the Traefik that runs, else files that have to be there."""
        for each in self._sources:
            command = [str(word) for word in each.words.get("command", ())]
            if software(str(each.words["image"])) != _TRAEFIK or not any(map(_RESOLVER.match, command)):
                continue
            acme: dict[str, Any] = {"email": f"you@{self._stack.domain}", "name-servers": ["9.9.9.9"]}
            provider = next((match[1].lower() for word in command if (match := _PROVIDER.match(word))), "")
            variables = each.words.get("environment", {})
            logins = [name for name, value in variables.items() if is_secret(name, str(value))]
            logins = [name for name in logins if _CREDENTIAL.fullmatch(name)]
            if provider and logins:
                acme |= {"challenge": provider, "credentials": logins}
            return {"acme": Noted(acme, "as the Traefik that runs asks for certificates; write your address")}
        folder = f"$HOME/tls/{self._stack.domain}"
        comment = "write yours: a certificate for every name below the domain, or acme"
        return {"certificate": Noted(f"{folder}/fullchain.pem", comment), "key": f"{folder}/privkey.pem"}

    def _domain(self) -> str:
        """Return the domain that most host names of routes have; empty where there is none."""
        hosts = [str(getattr(box.draft.keys.get("host"), "value", "")) for box in self._boxes]
        found = Counter(match[2] for host in hosts if (match := _NAMED.fullmatch(host)))
        return found.most_common(1)[0][0] if found else ""

    def _handed_over(self) -> Iterator[str]:
        """Yield the command for each secret, which reads it from the engine and shows it to no one."""
        for box in self._boxes:
            for name, value in box.draft.keys.get("environment", {}).items():
                if isinstance(value, dict):
                    yield f"secret_of {box.container} {name} | pulumi config set --secret {value['secret']}"


def _is_certain(draft: Draft) -> bool:
    return any(certain for _, certain, _ in draft.routes)
