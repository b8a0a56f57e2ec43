"""Pages of external machines: the declared one is served and asked as declared, and all else is refused."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from policies.evaluate import evaluate_resource
from resources.resource import Resource
from resources.site import Graph
from tests.machine_pages import NAS, PAGE, keys
from tests.policies.seen import findings, proved, walked
from tests.policies.sound import Stack, run
from topology.config import ConfigError, load
from topology.index import TopologyIndex


@cache
def made() -> tuple[Resource, ...]:
    """Return the program's resources for that site."""
    return tuple(run(keys()))


def stack() -> Stack:
    """Return a fresh copy of the sound stack."""
    return Stack(resources=[replace(r, inputs=copy.deepcopy(r.inputs)) for r in made()], config=keys())


def graph(one: Stack) -> Graph:
    """Return the graph of a stack."""
    declared = TopologyIndex.of(load(one.config))
    return Graph(tuple(evaluate_resource(each, declared, {}).view for each in one.resources), declared)


def test_a_machines_page_is_sound() -> None:
    """No finding; proof and packet walk agree, and of the services nas-page alone asks the NAS."""
    assert stack().judge().findings == ()
    seen = graph(stack())
    assert proved(seen) == walked(seen)
    asked = {(source, str(port)) for source, end, port in proved(seen) if end == "nas"}
    assert {each for each in asked if each[0] in seen.topology.services} == {("nas-page", "5001/tcp")}


def test_management_alone_sees_the_page() -> None:
    """The page has the audience of its route, as any other."""
    found = {each[0] for each in proved(graph(stack())) if each[1] == "nas-page"}
    assert found - {"docker-srv", "proxmox-srv"} == {"traefik", "management"}


def text() -> str:
    """Return the uploaded configuration of nginx."""
    (found,) = (
        each["content"]
        for each in stack().inputs("container", "nas-page")["uploads"]
        if each["file"].endswith("nginx.conf")
    )
    return str(found)


def test_the_machine_is_asked_by_checked_tls() -> None:
    """With ca-file nginx checks the certificate's authority and name; without one it asks in clear."""
    lines = {line.strip() for line in text().splitlines()}
    assert {
        "proxy_pass https://192.168.30.9:5001;",
        "proxy_ssl_verify on;",
        "proxy_ssl_name nas.lan;",
        "proxy_ssl_trusted_certificate /etc/nginx/authorities.pem;",
    } <= lines
    config = keys()
    config["zones"]["nas"] = {key: value for key, value in NAS.items() if key not in {"host", "ca-file"}}
    flow = {"flow": "nas-page -> nas:5001/tcp", "reason": "the NAS has a page without TLS alone"}
    with pytest.raises(ConfigError, match="is not encrypted: nothing says who signed a certificate of nas"):
        load(config)
    config["unencrypted"] = [*config["unencrypted"], flow]
    assert findings(config) == []


Change = Callable[[Stack], None]


def _conf(old: str, new: str) -> Change:
    def change(broken: Stack) -> None:
        for each in broken.inputs("container", "nas-page")["uploads"]:
            if each["file"].endswith("nginx.conf"):
                assert old in each["content"]
                each["content"] = each["content"].replace(old, new)

    return change


def _rules(old: str, new: str) -> Change:
    def change(broken: Stack) -> None:
        inputs = broken.inputs("command", "host-rules")
        assert old in inputs["stdin"]
        inputs["stdin"] = inputs["stdin"].replace(old, new)

    return change


def _uploads(broken: Stack) -> None:
    uploads = broken.inputs("container", "nas-page")["uploads"]
    uploads[:] = [each for each in uploads if each["file"].endswith("nginx.conf")]


MUTANTS: dict[str, tuple[str, Change]] = {
    "another machine": ("targets-declared", _conf("192.168.30.9:5001", "192.168.30.10:5001")),
    "another port": ("targets-declared", _conf("192.168.30.9:5001", "192.168.30.9:22")),
    "a service": ("targets-declared", _conf("https://192.168.30.9:5001", "http://loki:3100")),
    "the internet": ("targets-declared", _conf("192.168.30.9:5001", "example.org:443")),
    "no check of the certificate": (
        "containers-as-rendered",
        _conf("proxy_ssl_verify on", "proxy_ssl_verify off"),
    ),
    "another name": ("containers-as-rendered", _conf("proxy_ssl_name nas.lan", "proxy_ssl_name other.lan")),
    "in clear": ("containers-as-rendered", _conf("https://192", "http://192")),
    "no authority": ("containers-as-rendered", _uploads),
    "a wider prefix": ("undeclared-flows", _rules("daddr 192.168.30.9/32", "daddr 192.168.30.0/24")),
    "every port of it": (
        "undeclared-flows",
        _rules("daddr 192.168.30.9/32 tcp dport 5001", "daddr 192.168.30.9/32 tcp dport 22"),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_refused(name: str) -> None:
    """Another machine, port or check than the declared one is refused."""
    rule, change = MUTANTS[name]
    broken = stack()
    change(broken)
    found = {finding.rule for finding in broken.judge().findings}
    assert rule in found


def test_an_admin_page_for_the_internet_needs_a_login_or_an_exception() -> None:
    """A machine's page for every client on the internet needs a login, or an exception."""
    told = "machine-pages-inside: nas-page: shows the internet the page of nas as nas.homelab.localhost, "
    config = keys(audience=["internet"])
    assert findings(config) == [f"{told}without a login before it"]
    assert findings(keys(audience=["internet"], login="basic")) == []
    excepted = {
        "rule": "machine-pages-inside",
        "resource": "nas-page",
        "reason": "the NAS shows photos to the family there",
        "owner": "me",
        "expires": "2099-01-01",
    }
    assert findings({**config, "exceptions": [*config.get("exceptions", []), excepted]}) == []


def test_there_may_be_several() -> None:
    """Each machine has a page of its own."""
    config = keys()
    config["zones"]["printer"] = {**NAS, "prefix": "192.168.30.10/32", "ports": [443], "host": "printer.lan"}
    config["services"]["printer-page"] = {**PAGE, "host": "printer", "audience": ["management"]}
    config["flows"] += ["traefik -> printer-page:8080/tcp", "printer-page -> printer:443/tcp"]
    assert findings(config) == []
