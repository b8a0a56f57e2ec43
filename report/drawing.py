"""The layout of a site's picture: boxes, legs and arrows with their coordinates, in pixels.

HTML and colours are in `report/assets/`. The picture shows what is declared; the matrix shows what is
possible. A service on two networks is one box across their border, so that an arrow runs inside the network
that carries it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from topology.model import INTERNET, Container, Guest, GuestKind, Port, Role, Topology, Zone, kind_of

_PAD, _GAP, _LANE_GAP, _HEAD = 16, 20, 64, 52
"""Padding of a box; gap between networks and between rows of services; room for arrows; title height."""
_HEIGHT, _NARROWEST = 44, 104
"""Height of a service's box, and its least width."""
_ALONE = 720
"""Width of Proxmox-SRV in a picture without Docker-SRV."""
_BULGE, _SPREAD, _INSET = 40, 9, 44
_NAME, _DETAIL = 9.4, 6.8
"""Width of a letter in a title and in a detail, wide fonts included."""
_FIRST: Final = tuple(Role)


@dataclass(frozen=True, kw_only=True)
class Box:
    """`kind` is host, zone, service, leg or outside; `detail` is the smaller line below the title."""

    kind: str
    title: str
    detail: str = ""
    role: str = ""
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x coordinate of the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y coordinate of the lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> tuple[float, float]:
        """The coordinates of the centre."""
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """All declared flows of one pair; `label` names their ports if they differ from the box's ports."""

    source: str
    destination: str
    ports: str
    path: str
    """An SVG path."""
    label: str
    x: float
    y: float
    anchor: str
    """Which end of the label is at (x, y): start or end."""
    via: str = ""
    """The router that forwards the flows; empty where none is between."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The picture; later elements cover earlier ones."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    legs: tuple[str, ...]
    arrows: tuple[Arrow, ...]


def draw(topology: Topology) -> Drawing:
    """Return a site's picture; the same site gives the same picture."""
    return _Layout(topology).drawing()


def listed(ports: Iterable[Port]) -> str:
    """Return ports as the picture writes them."""
    return ", ".join(map(str, ports))


def described(zone: Zone) -> tuple[str, str]:
    """Return a zone's name, and the text below it in the picture."""
    role = [str(zone.role)] if zone.role != zone.name else []
    host = [f"on {zone.docker_host}"] if zone.docker_host else []
    tag = [f"VLAN {zone.vlan}"] if zone.vlan else []
    return zone.name, " · ".join([*role, *host, *tag, str(zone.prefix)])


class _Layout:
    """Docker-SRV above Proxmox-SRV, further Docker hosts below, outside places to the left."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.things: dict[str, Box] = {}
        self.zones: list[Box] = []
        self.legs: list[str] = []
        self.rails: dict[tuple[str, str], str] = {}
        self.reached = topology.legs.of(topology.ingress_name)
        self.peers: defaultdict[str, list[str]] = defaultdict(list)
        for flow in topology.flows:
            self.peers[flow.source].append(flow.destination)
            self.peers[flow.destination].append(flow.source)
        texts = [(s.name, self._detail(s)) for s in topology.services.values()]
        self.box = _width(texts, least=_NARROWEST)
        self.left = _width([(name, self._outside(name)) for name in self._outsides()], least=96)

    def drawing(self) -> Drawing:
        at = self.left + _LANE_GAP
        first, *others = self.topology.by_docker_host
        hosts = [self._docker(first, at, 0)] if first.docker_host else []
        if self.topology.proxmox_host:
            y, width = (hosts[0].bottom + 2 * _GAP, hosts[0].width) if hosts else (0, _ALONE)
            hosts.append(self._proxmox(at, y, width))
        for node in self.topology.proxmox_hosts[1:]:
            detail, y = f"node {node.node}, {node.bridge} · {listed(node.ports)}", hosts[-1].bottom + 2 * _GAP
            hosts.append(
                Box(kind="host", title=node.name, detail=detail, x=at, y=y, width=_ALONE, height=_HEAD)
            )
        for part in others:
            hosts.append(self._docker(part, at, hosts[-1].bottom + 2 * _GAP))
        if router := self.topology.router:
            zones, y = ", ".join(router.legs), hosts[-1].bottom + 2 * _GAP
            detail = " · ".join(filter(None, [f"router of {zones}", listed(router.ports)]))
            width = _width([(router.name, detail)], least=_ALONE)
            hosts.append(
                Box(kind="host", title=router.name, detail=detail, x=at, y=y, width=width, height=_HEAD)
            )
        right = max(host.right for host in hosts)
        hosts = [replace(host, width=right - host.x) for host in hosts]
        self.things |= {host.title: host for host in hosts}
        self._stand_outside(hosts[-1])
        arrows = tuple(self._arrows())
        boxes = (*hosts, *self.zones, *(b for b in self.things.values() if b.kind != "host"))
        return Drawing(
            width=right,
            height=max(box.bottom for box in boxes),
            boxes=boxes,
            legs=tuple(self.legs),
            arrows=arrows,
        )

    # ----------------------------------------------------------------------------------- Docker-SRV

    def _docker(self, site: Topology, x: float, y: float) -> Box:
        """Place networks side by side, with a lane of services inside each and across each border."""
        zones = sorted((z for z in site.zones.values() if z.is_docker), key=_role)
        lanes, spanning = self._lanes(zones, site.containers)
        crossings = {lane // 2 for lane in lanes if lane % 2 == 0}
        crossings |= {border for _, low, high in spanning for border in range(low + 1, high + 1)}
        rows = max(map(len, lanes.values()), default=1)
        top = y + _HEAD + _HEAD + _GAP
        tall = rows * (_HEIGHT + _GAP)
        bottom = top + tall + len(spanning) * (_HEIGHT + _GAP)
        borders, at = {}, x + _PAD
        for index, zone in enumerate(zones):
            borders[index] = at - _GAP / 2
            crossed = [index in crossings, index + 1 in crossings]
            inside = lanes[2 * index + 1]
            width = self._zone_width(zone, crossed, inside=bool(inside))
            self.zones.append(_zone_box(zone, at, y + _HEAD, width, bottom - y - _HEAD))
            edge = _PAD + self.box / 2
            middle = (
                at + width / 2 if crossed[0] == crossed[1] else at + (width - edge if crossed[0] else edge)
            )
            self._stack(inside, middle, top, tall)
            at += width + _GAP
        borders[len(zones)] = at - _GAP / 2
        for index in range(1, len(zones)):
            self._stack(lanes[2 * index], borders[index], top, tall)
        for row, (service, low, high) in enumerate(spanning):
            start = borders[low + 1] - self.box / 2
            width = borders[high] + self.box / 2 - start
            detail = f"{' + '.join(service.zones)} · {self._detail(service)}".removesuffix(" · ")
            self._put(service, start, top + tall + row * (_HEIGHT + _GAP), width, detail)
        host = site.docker
        width, detail = at - _GAP + _PAD - x, "containers"
        return Box(
            kind="host", title=host.name, detail=detail, x=x, y=y, width=width, height=bottom + _PAD - y
        )

    def _lanes(
        self, zones: Sequence[Zone], containers: Iterable[Container]
    ) -> tuple[Mapping[int, list[Container]], list[tuple[Container, int, int]]]:
        """Return the services by lane, and those that span more than two networks.

        Lane 2n + 1 is inside network n, lane 2n across the border before it.
        """
        number = {zone.name: index for index, zone in enumerate(zones)}
        lanes: defaultdict[int, list[Container]] = defaultdict(list)
        spanning = []
        for service in containers:
            joined = sorted(number[name] for name in service.zones)
            low, high = joined[0], joined[-1]
            if high - low > 1:
                spanning.append((service, low, high))
            else:
                lanes[low + high + 1].append(service)
        place: dict[str, float] = {}
        for lane in sorted(lanes):
            lanes[lane].sort(key=lambda service: self._pull(service.name, place))
            place |= {service.name: row for row, service in enumerate(lanes[lane])}
        return lanes, spanning

    def _pull(self, name: str, place: Mapping[str, float]) -> float:
        """Return the mean row of the services on the left that it has flows with, so fewer arrows cross."""
        rows = [place[each] for each in self.peers[name] if each in place]
        return sum(rows) / len(rows) if rows else len(place)

    def _zone_width(self, zone: Zone, crossed: Sequence[bool], *, inside: bool) -> float:
        parts = [(self.box - _GAP) / 2] * sum(crossed) + [self.box] * inside
        needed = sum(parts) + _LANE_GAP * (len(parts) - 1) + _PAD * crossed.count(False)
        return max(needed, _width([described(zone)], least=96))

    def _stack(self, services: Sequence[Container], middle: float, top: float, tall: float) -> None:
        first = top + (tall - len(services) * (_HEIGHT + _GAP)) / 2
        for row, service in enumerate(services):
            self._put(service, middle - self.box / 2, first + row * (_HEIGHT + _GAP), self.box)

    def _put(self, service: Container | Guest, x: float, y: float, width: float, detail: str = "") -> None:
        self.things[service.name] = Box(
            kind="service",
            title=service.name,
            detail=detail or self._detail(service),
            x=x,
            y=y,
            width=width,
            height=_HEIGHT,
        )

    # ---------------------------------------------------------------------------------- Proxmox-SRV

    def _proxmox(self, x: float, y: float, width: float) -> Box:
        """Place VLANs in rows no wider than Docker-SRV, and the ingress's legs in the gutters between."""
        wide = self.box + _INSET + _PAD + _GAP / 2
        wide = max(wide, _width([described(zone) for zone in self.topology.vlans], least=0))
        each = max(1, int((width - _PAD) / (wide + _GAP + _PAD)))
        at, gutters = y + _HEAD, []
        vlans = self.topology.vlans
        if vlans and len(vlans) <= each:
            each = len(vlans)
            wide = max(wide, (width - _PAD - each * (_GAP + _PAD)) / each)
        for start in range(0, len(vlans), each):
            row = vlans[start : start + each]
            tall = max(self._vlan_height(zone) for zone in row)
            for column, zone in enumerate(row):
                left = x + _PAD + _GAP + column * (wide + _GAP + _PAD)
                self._vlan(zone, Box(kind="zone", title="", x=left, y=at, width=wide, height=tall))
                if zone.name in self.reached:
                    gutters.append((left - _GAP, at + _HEAD + 12, left + _PAD))
            at += tall + _GAP
        self._bus(gutters, y - _GAP)
        host, *others = self.topology.proxmox_hosts
        where = "the cluster's nodes" if others else f"{host.node}, {host.bridge}"
        detail = f"virtual machines on {where} · {listed(host.ports)}"
        across = _PAD + each * (wide + _GAP + _PAD)
        return Box(
            kind="host",
            title=host.name,
            detail=detail,
            x=x,
            y=y,
            width=max(width, across),
            height=max(at - _GAP + _PAD - y, _HEAD),
        )

    def _guests(self, zone: Zone) -> list[Guest]:
        return [guest for guest in self.topology.guests if guest.zones == (zone.name,)]

    def _vlan_height(self, zone: Zone) -> float:
        leg = 36 if zone.name in self.reached else 0
        return _HEAD + leg + len(self._guests(zone)) * (_HEIGHT + _GAP / 2) + _PAD / 2

    def _vlan(self, zone: Zone, room: Box) -> None:
        self.zones.append(_zone_box(zone, room.x, room.y, room.width, room.height))
        y, rail = room.y + _HEAD, room.x + _PAD + 10
        ingress = self.topology.ingress_name or ""
        if leg := zone.name in self.reached:
            title = f"{ingress} {zone.ingress}"
            width = _width([("", title)], least=0)
            self.zones.append(Box(kind="leg", title=title, x=room.x + _PAD, y=y, width=width, height=24))
            y += 36
        for guest in self._guests(zone):
            self._put(guest, room.x + _INSET, y, room.width - _INSET - _PAD)
            if leg:
                middle, start = y + _HEIGHT / 2, room.y + _HEAD + 24
                path = f"M{rail:g} {start:g}V{middle - 8:g}q0 8 8 8H{room.x + _INSET:g}"
                self.rails[ingress, guest.name] = path
            y += _HEIGHT + _GAP / 2

    def _bus(self, gutters: Sequence[tuple[float, float, float]], y: float) -> None:
        """Draw a line down from the ingress, with a branch into each VLAN."""
        for gutter, down, leg in gutters:
            start = self.things[self.topology.ingress.name]
            x = start.middle[0]
            side = 8 if gutter > x else -8
            turn = f"H{gutter - side:g}q{side} 0 {side} 8" if abs(gutter - x) > abs(side) else f"H{gutter:g}"
            self.legs.append(f"M{x:g} {start.bottom:g}V{y:g}{turn}V{down - 8:g}q0 8 8 8H{leg:g}")

    # ------------------------------------------------------------------------------------- outside

    def _outsides(self) -> list[str]:
        return [INTERNET, *(zone.name for zone in self.topology.outsides)]

    def _outside(self, name: str) -> str:
        return "everyone else" if name == INTERNET else str(self.topology.zones[name].prefix)

    def _stand_outside(self, last: Box) -> None:
        """Place the outside beside the ingress, the second one and those after it beside the last host."""
        ingress = self.topology.ingress_name
        level = self.things[ingress].y if ingress else last.y + _HEAD
        for name in self._outsides():
            self.things[name] = Box(
                kind="outside",
                title=name,
                detail=self._outside(name),
                role="" if name == INTERNET else Role.MANAGEMENT,
                x=0,
                y=level,
                width=self.left,
                height=_HEIGHT,
            )
            level = max(level + _HEIGHT + _GAP, last.y + 4)

    # -------------------------------------------------------------------------------------- arrows

    def _arrows(self) -> Iterator[Arrow]:
        pairs: defaultdict[tuple[str, str], list[Port]] = defaultdict(list)
        for flow in self.topology.flows:
            pairs[flow.source, flow.destination].append(flow.port)
        router = self.things[self.topology.router.name] if self.topology.router else None
        through = {(each.flow.source, each.flow.destination) for each in self.topology.crossings}
        turns = self._turns(pair for pair in pairs if pair not in through)
        ends = self._ends(pair for pair in pairs if pair not in self.rails and pair not in turns)
        for (source, destination), ports in pairs.items():
            label = "" if set(ports) == set(self._ports(destination)) else listed(ports)
            if (path := self.rails.get((source, destination))) is not None:
                box = self.things[destination]
                x, y, anchor = box.right, box.y - 2, "end"
            elif turn := turns.get((source, destination)):
                path, x, y, anchor = *turn, "start"
            else:
                (start, end) = ends[source, destination]
                path, x, y = _curve(start, end), end[0] + end[2] * 12, end[1] - 5
                if router and destination == router.title:
                    path = self._to_router(source, start, router)
                if router and (source, destination) in through:
                    path = self._to_router(source, start, router) + self._from_router(
                        destination, end, router
                    )
                anchor = "start" if end[2] > 0 else "end"
            yield Arrow(
                source=source,
                destination=destination,
                ports=listed(ports),
                path=path,
                label=label,
                x=x,
                y=y,
                anchor=anchor,
                via=router.title if (source, destination) in through and router else "",
            )

    def _to_router(self, source: str, start: _End, router: Box) -> str:
        """Return the path from a source to the router; from a guest, down beside the guests of its VLAN.

        From a container other than the ingress it leads down along the hosts' right edge.
        """
        service = self.topology.services.get(source)
        if service is None or service.name == self.topology.ingress_name:
            return _curve(start, (router.x, router.middle[1], -1))
        box = self.things[source]
        if not isinstance(service, Guest):
            x, y = router.right - 6, box.middle[1]
            return f"M{box.right:g} {y:g}H{x - 8:g}q8 0 8 8V{router.y:g}"
        x, y = box.x - 12, box.middle[1] + 10
        return f"M{box.x:g} {y:g}H{x + 8:g}q-8 0 -8 8V{router.y:g}"

    def _from_router(self, destination: str, end: _End, router: Box) -> str:
        """Return the path from the router to a destination; to a guest, up beside the guests of its VLAN."""
        if not isinstance(self.topology.services.get(destination), Guest):
            return _curve((router.x, router.middle[1], -1), end)
        box = self.things[destination]
        x, y = box.x - 28, box.middle[1]
        return f"M{x:g} {router.y:g}V{y + 8:g}q0 -8 8 -8H{box.x:g}"

    def _turns(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, float, float]]:
        """Return the arrows between a box across several networks and boxes above it, with labels' places.

        Such an arrow runs straight beside the upper box and turns into it or out of it; from the lower box's
        right end it would run back across what is between. The higher box has the outer line.
        """
        found = {}
        beside: Counter[float] = Counter()
        for pair in sorted(pairs, key=lambda pair: -min(self.things[name].y for name in pair)):
            upper, lower = sorted((self.things[name] for name in pair), key=lambda box: box.y)
            x = upper.right + 14 + 9 * beside[upper.right]
            inside = lower.x < upper.x and x < lower.right - 6 and upper.bottom < lower.y
            if (upper.kind, lower.kind, inside) != ("service", "service", True):
                continue
            beside[upper.right] += 1
            middle = upper.middle[1]
            down = f"M{upper.right:g} {middle:g}H{x - 8:g}q8 0 8 8V{lower.y:g}"
            up = f"M{x:g} {lower.y:g}V{middle + 8:g}q0 -8 -8 -8H{upper.right:g}"
            leads_up = self.things[pair[1]] is upper
            found[pair] = (up, upper.right + 3, middle - 5) if leads_up else (down, x + 4, lower.y - 6)
        return found

    def _ends(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[_End, _End]]:
        """Return both ends of each arrow; ends on one side of a box are below each other."""
        found = {pair: _sides(self.things[pair[0]], self.things[pair[1]]) for pair in pairs}
        crowd: defaultdict[tuple[str, int], list[tuple[float, tuple[str, str], int]]] = defaultdict(list)
        for pair, sides in found.items():
            for end in (0, 1):
                other = self.things[pair[1 - end]].middle[1]
                crowd[pair[end], sides[end]].append((other, pair, end))
        ends: dict[tuple[tuple[str, str], int], _End] = {}
        for (name, side), at in crowd.items():
            box = self.things[name]
            middle = box.y + 26 if box.kind == "host" else box.middle[1]
            step = min(_SPREAD, (_HEIGHT - 12) / len(at))
            for index, (_, pair, end) in enumerate(sorted(at)):
                y = middle + (index - (len(at) - 1) / 2) * step
                ends[pair, end] = (box.right if side > 0 else box.x, y, side)
        return {pair: (ends[pair, 0], ends[pair, 1]) for pair in found}

    def _ports(self, name: str) -> Sequence[Port]:
        if (router := self.topology.router) and router.name == name:
            return router.ports
        if host := next((each for each in self.topology.proxmox_hosts if each.name == name), None):
            return host.ports
        return self.topology.services[name].ports if name in self.topology.services else ()

    def _detail(self, service: Container | Guest) -> str:
        ports = filter(None, [listed(service.ports)])
        if not isinstance(service, Guest):
            return " · ".join(ports)
        kind = [kind_of(service)] if kind_of(service) is not GuestKind.VM else []
        node = [service.node] if service.node else []
        return " · ".join([str(service.address), *ports, *kind, *node])


_End = tuple[float, float, int]
"""A point, and whether it is on the right side (1) of its box or on the left (-1)."""


def _sides(source: Box, destination: Box) -> tuple[int, int]:
    """Return the side of each end: facing each other, or both on the right if the boxes overlap in x."""
    if "host" in (source.kind, destination.kind):
        return (1, -1) if destination.kind == "host" else (-1, 1)
    if destination.x >= source.right:
        return 1, -1
    return (-1, 1) if source.x >= destination.right else (1, 1)


def _curve(start: _End, end: _End) -> str:
    """Return an SVG path from end to end."""
    (ax, ay, out), (bx, by, into) = start, end
    pull = _BULGE if out == into else max(_GAP, min(_BULGE, abs(bx - ax) / 2))
    return f"M{ax:g} {ay:g}C{ax + out * pull:g} {ay:g} {bx + into * pull:g} {by:g} {bx:g} {by:g}"


def _zone_box(zone: Zone, x: float, y: float, width: float, height: float) -> Box:
    title, detail = described(zone)
    return Box(kind="zone", title=title, detail=detail, role=zone.role, x=x, y=y, width=width, height=height)


def _role(zone: Zone) -> int:
    return _FIRST.index(zone.role)


def _width(texts: Iterable[tuple[str, str]], *, least: float) -> float:
    """Return how wide a box must be for its title and the smaller line below."""
    longest = [max(len(title) * _NAME, len(detail) * _DETAIL) for title, detail in texts]
    return round(max(least, *(width + 1.5 * _PAD for width in longest)) if longest else least)
