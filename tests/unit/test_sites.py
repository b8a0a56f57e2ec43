"""Sites as people have them: the stack files in tests/sites are sound, and hold what their wishes say."""

import json
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.evaluate import evaluate
from resources.program import of_stack_file
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import TODAY
from topology.config import ConfigError, from_file, from_keys
from topology.index import TopologyIndex
from topology.project import PROJECT
from topology.stack_file import keys_of

FOLDER = PROJECT / "tests" / "sites"
WISHES: dict[str, dict[str, str]] = yaml.safe_load((FOLDER / "wishes.yaml").read_text(encoding="utf-8"))
ROUTES = "/etc/traefik/dynamic/routes.yml"
SERVICES = "homelab-network:services"


def file(site: str) -> Path:
    """Return a site's stack file."""
    return FOLDER / f"Pulumi.{site}.yaml"


@cache
def made(site: str) -> tuple[Resource, ...]:
    """Return the program's resources for a site."""
    return tuple(of_stack_file(file(site)).resources)


@pytest.mark.parametrize("site", WISHES)
def test_a_site_is_sound(site: str) -> None:
    """The program makes the site, and the pack finds nothing."""
    assert evaluate(made(site), from_file(file(site)), TODAY).findings == ()


@pytest.mark.parametrize("site", WISHES)
def test_what_is_served_is_declared(site: str) -> None:
    """Every wish that is served is a service or a redirect of the file, and none that is refused is."""
    topology = from_file(file(site))
    redirects = {host.partition(".")[0] for route in topology.routes for host in route.redirects}
    declared = {*topology.services} | redirects
    assert {name for name, said in WISHES[site].items() if said == "served"} <= declared
    assert not {name for name, said in WISHES[site].items() if said.startswith("refused")} & declared


@pytest.mark.parametrize(
    ("site", "source", "destination"),
    [
        ("author-of-the-brief", "provider-lan", "proxmox-srv"),
        ("author-of-the-brief", "provider-lan", "objects"),
        ("author-of-the-brief", "tunnel", "grafana"),
        ("author-of-the-brief", "vaultwarden", "internet"),
        ("author-of-the-brief", "internet", "traefik"),
        ("author-of-the-brief", "pdf", "jellyfin"),
        ("author-of-the-brief", "site-1", "photos"),
        ("author-of-the-brief", "name-server", "site-1"),
        ("stacks-with-databases", "photos", "paperless-db"),
        ("stacks-with-databases", "photos", "broker"),
        ("stacks-with-databases", "paperless-db", "internet"),
        ("stacks-with-databases", "internet", "traefik"),
        ("stacks-with-databases", "tunnel", "sync"),
        ("media-and-identity", "things", "series"),
        ("media-and-identity", "things", "pve-1"),
        ("media-and-identity", "things", "pve-2"),
        ("media-and-identity", "dns-2", "identity"),
        ("media-and-identity", "internet", "series"),
        ("media-and-identity", "trusted", "backup-server"),
        ("media-and-identity", "audiobooks", "internet"),
        ("media-and-identity", "downloads", "nas"),
        ("author-of-the-brief", "name-server", "proxmox-srv"),
        ("author-of-the-brief", "provider-lan", "grafana"),
        ("containers-in-a-flat-lan", "clients", "pve"),
        ("containers-in-a-flat-lan", "clients", "backup"),
        ("containers-in-a-flat-lan", "monitoring", "pve"),
        ("containers-in-a-flat-lan", "clients", "network-db"),
        ("containers-in-a-flat-lan", "vpn-1", "dmz-docker"),
        ("containers-in-a-flat-lan", "monitoring", "node-of-a-chain"),
        ("containers-in-a-flat-lan", "clients", "node-of-a-chain"),
        ("containers-in-a-flat-lan", "passwords", "dmz-docker"),
        ("containers-in-a-flat-lan", "internet", "dmz-docker"),
        ("containers-in-a-flat-lan", "node-of-a-chain", "dns"),
        ("containers-in-a-flat-lan", "internet", "traefik"),
        ("family-house", "nextcloud", "immich-db"),
        ("family-house", "printer-page", "nas"),
        ("family-house", "internet", "home-assistant"),
        ("family-house", "cameras", "frigate"),
        ("family-house", "family", "pve"),
        ("family-house", "backup", "internet"),
        ("small-office", "scans", "directory"),
        ("small-office", "wiki", "billing"),
        ("small-office", "phones", "directory"),
        ("small-office", "copier-page", "files"),
    ],
)
def test_what_is_not_wished_is_impossible(site: str, source: str, destination: str) -> None:
    """Nothing reaches what its site's wishes keep from it, by packets or through the ingress."""
    index = TopologyIndex.of(from_file(file(site)))
    sets = Graph(tuple(map(view, made(site))), index).reachability.connection_sets()
    assert not [one for one in sets if one.destination == destination and source in one.sources]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("volumes", ["/var/run/docker.sock:/var/run/docker.sock"], "Alloy or Promtail reads logs"),
        ("network_mode", "host", "declare what it listens on as ports, and a flow from the ingress"),
        ("network_mode", "service:vpn", "run both in one guest, whose firewall lets out the VPN's port"),
        ("privileged", True, "name the one capability in cap_add"),
    ],
)
def test_a_log_viewer_is_refused(key: str, value: object, told: str) -> None:
    """A container with the engine's socket, or the network or rights of host or neighbour, is refused."""
    keys: dict[str, Any] = keys_of(file("author-of-the-brief"))
    keys[SERVICES]["log-viewer"] = {"zones": ["frontend"], "image": "dozzle:8.14.6", key: value}
    with pytest.raises(ConfigError) as refused:
        from_keys(keys)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("url", "transport", "told"),
    [
        ("http://network-controller:8443", "network-controller", "asks network-controller without TLS"),
        ("https://network-controller:8443", "", "with serverName not network-controller"),
        ("https://network-controller:8443", "any", "with insecureSkipVerify not left out"),
    ],
)
def test_a_container_is_asked_by_checked_tls(url: str, transport: str, told: str) -> None:
    """A container with ca-file is asked by TLS, with its certificate checked; the ingress holds the file."""
    site = "containers-in-a-flat-lan"
    ingress = next(each for each in made(site) if each.name == "traefik" and "uploads" in each.inputs)
    uploads = {each["file"]: each for each in ingress.inputs["uploads"]}
    assert "/etc/certificates/network-controller/authorities.pem" in uploads
    routes = yaml.safe_load(uploads[ROUTES]["content"])
    web = routes["http"]
    web["services"]["network-controller"]["loadBalancer"] = {
        "servers": [{"url": url}],
        **({"serversTransport": transport} if transport else {}),
    }
    web["serversTransports"]["any"] = {
        **web["serversTransports"]["network-controller"],
        "insecureSkipVerify": True,
    }
    text = {**uploads, ROUTES: {**uploads[ROUTES], "content": json.dumps(routes)}}
    changed = replace(ingress, inputs={**ingress.inputs, "uploads": [*text.values()]})
    stack = tuple(changed if each is ingress else each for each in made(site))
    found = [
        each.message
        for each in evaluate(stack, from_file(file(site)), TODAY).findings
        if each.rule == "guests-show-certificates"
    ]
    assert any(told in each for each in found), found


def test_the_documents_sums_are_these() -> None:
    """docs/sites.md states how many of the wishes are served, refused and missing."""
    text = (PROJECT / "docs" / "sites.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| ([a-z-]+)(?: \(invented\))? \| (\d+ \| \d+ \| \d+ \| \d+) \|$", text, re.MULTILINE)
    )
    counted = {
        site: Counter(said.partition(":")[0] for said in wishes.values()) for site, wishes in WISHES.items()
    }
    assert rows == {
        site: f"{len(WISHES[site])} | {found['served']} | {found['refused']} | {found['missing']}"
        for site, found in counted.items()
    }
