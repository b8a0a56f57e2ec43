"""Who may use the ingress and each route, under which names, and after which login."""

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import yaml

from resources.host_rules import forward
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import Stack, run
from tests.site import changed, configuration
from topology.config import load
from topology.index import TopologyIndex
from topology.model import INTERNET, Port
from topology.outputs import outputs

PUBLIC = ("site-1", "site-2", "jellyfin", "stirling-pdf", "vaultwarden")
INSIDE = ("grafana", "prometheus-ui")
LIMIT = "ip saddr != { 10.10.1.0/24 } tcp dport 8443 drop"


def lan_alone() -> dict[str, Any]:
    """Return the sound site with an ingress that management alone may use."""
    config = configuration()
    config["flows"] = [
        flow.replace("internet -> traefik", "management -> traefik") for flow in config["flows"]
    ]
    return config


def two_audiences() -> dict[str, Any]:
    """Return the sound site with its tools on a port for management, and the rest for everyone."""
    audiences = {name: ["internet"] for name in PUBLIC} | {name: ["management"] for name in INSIDE}
    return changed(
        {
            "services.traefik.ports": [80, 443, 8443],
            "flows[+]": "management -> traefik:8443/tcp",
            **{f"services.{name}.audience": audience for name, audience in audiences.items()},
        }
    )


def names_and_logins() -> dict[str, Any]:
    """Return the sound site with a guest that has three host names, and one behind a login."""
    return changed(
        {
            "services.site-1.aliases": ["www", "blog.example.org"],
            "services.jellyfin.login": "basic",
            "services.vaultwarden.aliases": ["passwords"],
        }
    )


def asked_from_inside() -> dict[str, Any]:
    """Return the sound site with a container and a guest that have flows to the ingress, as a tunnel has."""
    values = configuration()
    values["flows"] += ["grafana -> traefik:443/tcp", "site-1 -> traefik:443/tcp", "site-1 -> traefik:80/tcp"]
    return values


def behind_a_login() -> dict[str, Any]:
    """Return the sound site with a service that answers for the clients of a container and of a guest."""
    return changed(
        {
            "services.auth": {
                "zones": ["frontend"],
                "image": "example/auth:1.0.0",
                "ports": [4180],
                "forward-auth": "/oauth2/auth",
            },
            "services.prometheus-ui.login": "auth",
            "services.jellyfin.login": "auth",
            "flows[+]": "traefik -> auth:4180/tcp",
        }
    )


def further_pages() -> dict[str, Any]:
    """Return the sound site with a store of objects that has two ports of pages, behind one login."""
    store = {"zones": ["frontend"], "image": "example/store:1.0.0", "ports": [9000, 9001]}
    return changed(
        {
            "services.store": {**store, "pages": {"9001": "console"}, "aliases": ["s3"], "login": "basic"},
            "flows": [*configuration()["flows"], "traefik -> store:9000/tcp", "traefik -> store:9001/tcp"],
        }
    )


def passed_on() -> dict[str, Any]:
    """Return the sound site with a forge: its SSH is for everyone, its other streams for management."""
    forge = {"zones": ["frontend"], "image": "example/forge:1.0.0", "ports": [3000, 22, "22000/udp", 22000]}
    ends = ("forge:3000/tcp", "forge:22/tcp", "forge:22000/tcp", "forge:22000/udp")
    return changed(
        {
            "services.forge": {**forge, "streams": ["2222:22", "22000:22000", "22000:22000/udp"]},
            "services.traefik.ports": [80, 443, 2222, 22000, "22000/udp"],
            "flows": [
                *configuration()["flows"],
                "internet -> traefik:2222/tcp",
                "management -> traefik:22000/tcp",
                "management -> traefik:22000/udp",
                *(f"traefik -> {end}" for end in ends),
            ],
        }
    )


SITES = {
    "streams": passed_on,
    "pages": further_pages,
    "login": behind_a_login,
    "lan": lan_alone,
    "two": two_audiences,
    "names": names_and_logins,
    "inside": asked_from_inside,
}


@cache
def made(site: str) -> tuple[Resource, ...]:
    """Return the program's resources for a site."""
    return tuple(run(SITES[site]()))


def stack(site: str) -> Stack:
    """Return a fresh copy of a sound stack."""
    return Stack(
        resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made(site)], config=SITES[site]()
    )


def callers(site: str) -> dict[str, set[str]]:
    """Return who reaches each service's ports, but for the ingress and the hosts, which are trusted."""
    graph = Graph(tuple(map(view, made(site))), TopologyIndex.of(load(SITES[site]())))
    found = defaultdict[str, set[str]](set)
    for one in graph.reachability.connection_sets():
        if one.port:
            found[one.destination] |= {*one.sources} - {"traefik", "docker-srv", "proxmox-srv"}
    return found


@pytest.mark.parametrize("site", SITES)
def test_a_sound_site_has_no_finding(site: str) -> None:
    """The pack accepts what the program makes for each of the sites."""
    assert stack(site).judge().findings == ()


def test_the_internet_reaches_its_routes_alone() -> None:
    """Every route for management is closed to the internet and to who watches, and those for all are open."""
    found = callers("two")
    assert {name: found[name] for name in INSIDE} == {each: {"management"} for each in INSIDE}
    everyone = {"internet", "management", "blackbox-exporter", "prometheus"}
    assert {name: found[name] for name in PUBLIC} == dict.fromkeys(PUBLIC, everyone)


def test_nobody_outside_reaches_a_site_for_the_lan() -> None:
    """With flows from management alone, no other source comes in."""
    found = callers("lan")
    names = ("traefik", *PUBLIC, *INSIDE)
    assert {name: found[name] for name in names} == {each: {"management"} for each in names}


def test_pages_have_their_port() -> None:
    """The outputs name the port that serves a page where it is not 443."""
    found = outputs(load(two_audiences()))
    assert found["urls"]["grafana"] == "https://grafana.homelab.localhost:8443/"
    assert found["urls"]["jellyfin"] == "https://jellyfin.homelab.localhost/"
    assert found["ingress"]["ports"] == [80, 443, 8443]


def test_the_hosts_rules_are_read_as_they_are_written() -> None:
    """What the host admits to a port is read back from the text of its rules, for each bridge."""
    text = stack("two").inputs("command", "host-rules")["stdin"]
    ((bridge, limits),) = forward(text).admitted.items()
    assert f'"{bridge}"' in text
    assert {port: [*map(str, prefixes)] for port, prefixes in limits.items()} == {
        Port(number=8443): ["10.10.1.0/24"]
    }


def rejecting(site: str, change: Callable[[Stack], None]) -> set[str]:
    """Return the rules that reject a site's stack after a change."""
    broken = stack(site)
    change(broken)
    return {finding.rule for finding in broken.judge().findings}


def rules(old: str, new: str) -> Callable[[Stack], None]:
    """Return a change of the host's own rules."""

    def change(broken: Stack) -> None:
        inputs = broken.inputs("command", "host-rules")
        assert old in inputs["stdin"]
        inputs["stdin"] = inputs["stdin"].replace(old, new)

    return change


def late(broken: Stack) -> None:
    """Move the limit behind the line that accepts what the engine translated."""
    limit, accepts = (
        f'    oifname {{ "br-edge" }} {LIMIT}\n',
        '    oifname { "br-edge" } ct status dnat accept\n',
    )
    rules(limit, "")(broken)
    rules(accepts, accepts + limit)(broken)


def file(name: str, old: str, new: str) -> Callable[[Stack], None]:
    """Return a change of one of the ingress's files."""

    def change(broken: Stack) -> None:
        (upload,) = (u for u in broken.inputs("container", "traefik")["uploads"] if u["file"].endswith(name))
        assert old in upload["content"]
        upload["content"] = upload["content"].replace(old, new)

    return change


def ports(**values: object) -> Callable[[Stack], None]:
    """Return a change of the published port that is for management."""

    def change(broken: Stack) -> None:
        (port,) = (p for p in broken.inputs("container", "traefik")["ports"] if p["external"] == 8443)
        port.update(values)

    return change


def router(name: str, key: str, value: object) -> Callable[[Stack], None]:
    """Return a change of one router; None removes the key, and a router without a key."""

    def change(broken: Stack) -> None:
        uploads = broken.inputs("container", "traefik")["uploads"]
        (upload,) = (each for each in uploads if each["file"].endswith("routes.yml"))
        content = yaml.safe_load(upload["content"])
        routers = content["http"]["routers"]
        if not key:
            del routers[name]
        elif value is None:
            del routers[name][key]
        else:
            routers[name][key] = value
        upload["content"] = yaml.safe_dump(content)

    return change


MUTANTS: dict[str, tuple[str, Callable[[Stack], None]]] = {
    "no limit": ("undeclared-flows", rules(LIMIT, "counter")),
    "limit for a wider prefix": ("undeclared-flows", rules("!= { 10.10.1.0/24 }", "!= { 0.0.0.0/0 }")),
    "limit for another port": ("undeclared-flows", rules("dport 8443 drop", "dport 8444 drop")),
    "limit by another protocol": ("undeclared-flows", rules("tcp dport 8443 drop", "udp dport 8443 drop")),
    "limit that accepts": ("undeclared-flows", rules("dport 8443 drop", "dport 8443 accept")),
    "limit that comes too late": ("undeclared-flows", late),
    "limit that is turned round": ("undeclared-flows", rules("saddr != {", "saddr {")),
    "tool on the port for all": ("undeclared-flows", file("routes.yml", "- websecure-8443", "- websecure")),
    "tool on both ports": (
        "undeclared-flows",
        file("routes.yml", "- websecure-8443", "- websecure\n      - websecure-8443"),
    ),
    "entry point on the port for all": (
        "undeclared-flows",
        file("traefik.yml", ":8443", ":443"),
    ),
    "port for all in its place": ("only-the-ingress-publishes", ports(internal=443)),
    "on every address": ("only-the-ingress-publishes", ports(ip="192.0.2.1")),
    "another port": ("routes-served", ports(external=9443)),
}


def test_services_with_a_flow_to_the_ingress_use_its_routes() -> None:
    """The ingress listens where their flows come from, and other services gain nothing."""
    found = callers("inside")
    assert {"grafana", "site-1"} <= found["jellyfin"]
    assert not {"site-2", "prometheus-ui", "vaultwarden"} & found["jellyfin"]


EARS: dict[str, Callable[[Stack], None]] = {
    "every address": file("traefik.yml", "address: 10.10.10.2:443", "address: :443"),
    "a leg without a flow": file("traefik.yml", "address: 10.10.10.2:443", "address: 10.10.20.2:443"),
    "a port without a flow": file("traefik.yml", "address: 10.10.10.2:443", "address: 10.10.10.2:8443"),
}


@pytest.mark.parametrize("mutant", EARS)
def test_the_ingress_listens_where_flows_come_from(mutant: str) -> None:
    """An entry point at another address of the ingress, or on another port there, is rejected."""
    assert "ingress-listens-on-edge" in rejecting("inside", EARS[mutant])


OTHERS: dict[str, tuple[str, Callable[[Stack], None]]] = {
    "route without its login": ("ingress-asks-for-logins", router("jellyfin", "middlewares", None)),
    "another name": ("routes-declared", router("blog.example.org", "rule", "Host(`evil.example.org`)")),
    "a name of another's": ("routes-declared", router("www.homelab.localhost", "service", "site-2")),
    "a name that is not served": ("routes-served", router("blog.example.org", "", None)),
    "an admin page by the other name": (
        "admin-pages-closed",
        router("passwords.homelab.localhost", "rule", "Host(`passwords.homelab.localhost`)"),
    ),
    "any name": ("routes-declared", router("www.homelab.localhost", "rule", "PathPrefix(`/`)")),
}


@pytest.mark.parametrize("mutant", OTHERS)
def test_other_names_and_logins_are_as_declared(mutant: str) -> None:
    """A router under another name, a missing one, or one without the login is rejected by its own rule."""
    rule, change = OTHERS[mutant]
    assert rule in rejecting("names", change)


def middleware(settings: dict[str, Any], **others: Any) -> Callable[[Stack], None]:
    """Return a change of the login that the ingress asks, and further middlewares."""

    def change(broken: Stack) -> None:
        uploads = broken.inputs("container", "traefik")["uploads"]
        (upload,) = (each for each in uploads if each["file"].endswith("middlewares.yml"))
        content = yaml.safe_load(upload["content"])
        found = content["http"]["middlewares"]
        found["login-auth"]["forwardAuth"] |= settings
        found |= others
        upload["content"] = yaml.safe_dump(content)

    return change


def streamed(protocol: str, name: str, **changes: Any) -> Callable[[Stack], None]:
    """Return a change of a stream's router, or of its service's server by `address`."""

    def change(broken: Stack) -> None:
        uploads = broken.inputs("container", "traefik")["uploads"]
        (upload,) = (each for each in uploads if each["file"].endswith("routes.yml"))
        content = yaml.safe_load(upload["content"])
        if "address" in changes:
            content[protocol]["services"][name] = {"loadBalancer": {"servers": [changes]}}
        else:
            content[protocol]["routers"][name] |= changes
        upload["content"] = yaml.safe_dump(content)

    return change


PAGES: dict[str, tuple[str, Callable[[Stack], None]]] = {
    "the console without a login": ("ingress-asks-for-logins", router("store-9001", "middlewares", None)),
    "the console under the other name": (
        "routes-declared",
        router("store-9001", "rule", "Host(`store.homelab.localhost`)"),
    ),
    "the other port under its name": ("routes-declared", router("store-9001", "service", "store")),
    "no console": ("routes-served", router("store-9001", "", None)),
}


@pytest.mark.parametrize("mutant", PAGES)
def test_further_pages_are_as_declared(mutant: str) -> None:
    """Each port of pages has its own host names, and the login of its service."""
    rule, change = PAGES[mutant]
    assert rule in rejecting("pages", change)


def test_further_pages_have_urls() -> None:
    """The outputs name each route's page."""
    urls = outputs(load(further_pages()))["urls"]
    assert {name: urls[name] for name in ("store", "store-9001")} == {
        "store": "https://store.homelab.localhost/",
        "store-9001": "https://console.homelab.localhost/",
    }


STREAMS: dict[str, tuple[str, Callable[[Stack], None]]] = {
    "to another port": ("routes-declared", streamed("tcp", "forge-2222", address="forge:3000")),
    "to another service": ("routes-declared", streamed("tcp", "forge-2222", address="grafana:3000")),
    "to a backend service": ("routes-declared", streamed("udp", "forge-22000", address="loki:3100")),
    "for management's on the port for all": (
        "routes-declared",
        streamed("tcp", "forge-22000", entryPoints=["tcp-2222"]),
    ),
    "on the port for pages": ("routes-declared", streamed("tcp", "forge-2222", entryPoints=["websecure"])),
    "by a name": ("routes-declared", streamed("tcp", "forge-2222", rule="HostSNI(`forge.example`)")),
    "with TLS": ("routes-declared", streamed("tcp", "forge-2222", tls={"passthrough": True})),
    "pages on its port": ("ingress-answers-guarded", router("grafana", "entryPoints", ["tcp-2222"])),
    "for everyone": ("undeclared-flows", rules("tcp dport 22000 drop", "tcp dport 22001 drop")),
    "for everyone by UDP": ("undeclared-flows", rules("udp dport 22000 drop", "udp dport 22001 drop")),
}


@pytest.mark.parametrize("mutant", STREAMS)
def test_streams_are_as_declared(mutant: str) -> None:
    """A stream that leads elsewhere, answers for others, or is open to others is rejected."""
    rule, change = STREAMS[mutant]
    assert rule in rejecting("streams", change)


def test_a_missing_stream_is_rejected() -> None:
    """Each declared stream needs its router."""

    def change(broken: Stack) -> None:
        uploads = broken.inputs("container", "traefik")["uploads"]
        (upload,) = (each for each in uploads if each["file"].endswith("routes.yml"))
        content = yaml.safe_load(upload["content"])
        del content["udp"]
        upload["content"] = yaml.safe_dump(content)

    assert "routes-served" in rejecting("streams", change)


def test_streams_have_the_audience_of_their_port() -> None:
    """Everyone reaches the forge by SSH and its pages, and management alone its other ports."""
    graph = Graph(tuple(map(view, made("streams"))), TopologyIndex.of(load(SITES["streams"]())))
    asked = {
        f"{source}:{port}": graph.reachability.evaluate(source, "forge", Port.parse(port)).allowed
        for source in ("internet", "management", "site-1")
        for port in ("22/tcp", "3000/tcp", "22000/tcp", "22000/udp")
    }
    assert [one for one, allowed in asked.items() if allowed] == [
        *(f"internet:{port}" for port in ("22/tcp", "3000/tcp")),
        *(f"management:{port}" for port in ("22/tcp", "3000/tcp", "22000/tcp", "22000/udp")),
    ]


LOGINS: dict[str, tuple[str, Callable[[Stack], None]]] = {
    "route without it": ("ingress-asks-for-logins", router("jellyfin", "middlewares", None)),
    "another route without it": ("ingress-asks-for-logins", router("prometheus-ui", "middlewares", ["body"])),
    "asked elsewhere": (
        "ingress-asks-for-logins",
        middleware({"address": "http://10.10.1.9:4180/oauth2/auth"}),
    ),
    "asked at another path": ("ingress-asks-for-logins", middleware({"address": "http://auth:4180/"})),
    "asked of one more": (
        "ingress-asks-for-logins",
        middleware({}, more={"forwardAuth": {"address": "http://loki:3100/ready"}}),
    ),
    "a client's own user name": (
        "ingress-asks-for-logins",
        middleware({"authResponseHeaders": ["X-Auth-Request-User"]}),
    ),
    "headers by a pattern": ("ingress-configuration-known", middleware({"authResponseHeadersRegex": "^X-"})),
    "a client's own address": ("ingress-configuration-known", middleware({"trustForwardHeader": True})),
    "certificates unchecked": (
        "ingress-configuration-known",
        middleware({"tls": {"insecureSkipVerify": True}}),
    ),
    "a user name from the ingress": (
        "ingress-asks-for-logins",
        lambda broken: (
            middleware({}, admin={"headers": {"customRequestHeaders": {"remote-user": "admin"}}})(broken),
            router("jellyfin", "middlewares", ["login-auth", "admin"])(broken),
        )[0],
    ),
}


@pytest.mark.parametrize("mutant", LOGINS)
def test_another_services_login_is_asked(mutant: str) -> None:
    """A route past the login, a login of another's, and a user name of the client's own are rejected."""
    rule, change = LOGINS[mutant]
    assert rule in rejecting("login", change)


def test_the_ingress_alone_reaches_what_is_behind_a_login() -> None:
    """No container or guest gets to pages whose user names it could write itself, but through the ingress."""
    topology = load(SITES["login"]())
    graph = Graph(tuple(map(view, made("login"))), TopologyIndex.of(topology))
    sources = {*topology.services, *topology.zones, INTERNET} - {"traefik"}
    for name, port in (("jellyfin", 8096), ("prometheus-ui", 8080)):
        asked = {
            source: graph.reachability.evaluate(source, name, Port(number=port), directly=True).allowed
            for source in sources & {*graph.reachability.names}
        }
        assert [source for source, allowed in asked.items() if allowed] == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_opens_a_limited_port_is_rejected(mutant: str) -> None:
    """A change that opens the port or the routes for management is found by the proof, not by text alone."""
    rule, change = MUTANTS[mutant]
    assert rule in rejecting("two", change)
