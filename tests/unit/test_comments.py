"""What a reviewer reads about a change: whole comments on pull requests, and single effects."""

from typing import Any

import pytest

from policies.changes import changes
from resources.inventory import Kind, from_json, to_json
from resources.inventory import inventory as of
from resources.site import Graph
from resources.typed import view
from tests.policies.sound import CANARY, sound
from tests.pull_requests import FOLDER, PULL_REQUESTS, comment, reviewed
from tests.site import changed, configuration
from topology.config import load
from topology.index import TopologyIndex


@pytest.mark.parametrize("name", PULL_REQUESTS)
def test_a_pull_request_has_this_comment(name: str) -> None:
    """The comment is the golden file, which `.venv/bin/python -m tests.pull_requests` writes."""
    assert comment(name) == (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def test_no_comment_is_left_over() -> None:
    """Every golden file belongs to a pull request."""
    assert {file.stem for file in FOLDER.iterdir()} == set(PULL_REQUESTS)


EXCEPTION = {
    "rule": "images-not-known-broken",
    "resource": "promtail",
    "reason": "moves to Alloy in January",
    "owner": "ann",
    "expires": "2027-01-31",
}
PAGE = {"until": "2027-01-31", "reason": "set up of the first users"}
LATER = {**EXCEPTION, "expires": "2027-03-31"}
FLOW = {"flow": "site-1 -> internet:443/tcp", "until": "2027-01-31", "reason": "updates of Debian"}
EFFECTS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "guest gone",
        {},
        {
            "services.jellyfin": "<gone>",
            "flows[traefik -> jellyfin:8096/tcp]": "<gone>",
            "unencrypted[traefik -> jellyfin:8096/tcp]": "<gone>",
        },
        "jellyfin is removed\nthe disk of jellyfin is deleted",
    ),
    (
        "protected",
        {"protect": True},
        {"services.jellyfin.vmid": 209},
        "the disk of jellyfin is deleted, which `protect` refuses",
    ),
    ("unprotected", {"protect": True}, {"protect": False}, "data is no longer protected from deletion"),
    (
        "opened",
        {"hosts.docker-srv.closed": True},
        {"hosts.docker-srv.closed": False},
        "docker-srv is no longer closed: its own programs answer from outside",
    ),
    (
        "closed",
        {},
        {"hosts.docker-srv.closed": True},
        "docker-srv is closed: only declared flows reach its own programs from outside",
    ),
    ("volume", {}, {"name-prefix": "x-"}, "volume prometheus-data with its content is deleted"),
    ("image", {}, {"services.loki.image": "l:2"}, "loki runs `l:2` instead of `homelab-lab/loki:3.6.3`"),
    (
        "address",
        {},
        {"services.site-1.address": "10.10.10.19"},
        "site-1 moves from address `10.10.10.11` to ",
    ),
    (
        "networks",
        {},
        {"services.promtail.zones": ["query"], "services.loki-gateway.zones": ["query", "backend"]},
        "promtail joins query and leaves backend",
    ),
    (
        "admin page",
        {},
        {"services.vaultwarden.admin-page": PAGE},
        "admin page of vaultwarden: `closed` → `open until 2027-01-31`",
    ),
    (
        "login",
        {},
        {"services.prometheus-ui.app": "<gone>"},
        "the login of prometheus-ui was asked for by the ingress and is left to the service now",
    ),
    (
        "anonymous",
        {},
        {"services.grafana.environment": {"GF_AUTH_ANONYMOUS_ENABLED": "true"}},
        "variable `GF_AUTH_ANONYMOUS_ENABLED` of grafana is added",
    ),
    (
        "exception prolonged",
        {"exceptions": [EXCEPTION]},
        {"exceptions": [LATER]},
        "exception `images-not-known-broken for promtail` is prolonged from 2027-01-31 to 2027-03-31",
    ),
    (
        "exception removed",
        {"exceptions": [EXCEPTION]},
        {"exceptions": []},
        "exception `images-not-known-broken for promtail` is removed",
    ),
    (
        "flow without an end",
        {"flows[+]": FLOW},
        {"flows[site-1 -> internet:443/tcp]": "site-1 -> internet:443/tcp"},
        "the last day of `site-1 -> internet:443/tcp` was 2027-01-31 and is none now",
    ),
    ("role", {}, {"zones.vault.role": "tenant"}, "role of zone vault: `isolated` → `tenant`"),
    (
        "untested",
        {"assertions[+]": {"src": "internet", "deny": ["loki:3100/tcp"]}},
        {"assertions": []},
        "no longer tested: `internet deny loki:3100/tcp`",
    ),
    ("setting", {}, {"domain": "other.localhost"}, "setting `homelab-network:domain` changes"),
]


@pytest.mark.parametrize(
    ("base", "keys", "text"), [row[1:] for row in EFFECTS], ids=[row[0] for row in EFFECTS]
)
def test_an_effect_that_is_no_flow_is_told(base: dict[str, Any], keys: dict[str, Any], text: str) -> None:
    """Lost data, moves, images, admin pages, logins, exceptions, end dates and settings are told."""
    before = changed(base)
    review = reviewed(before, changed(keys, changed(base)))
    assert review.other
    assert text in "\n".join(each.text for each in review.other)


def test_an_inventory_survives_the_way_and_holds_no_secret() -> None:
    """An inventory as JSON is the same again, and no secret of the resources or keys is in it."""
    config = {"traefik:users": {"secure": f"v1:{CANARY}"}, "grafana:adminPassword": CANARY}
    site = Graph(tuple(map(view, sound().resources)), TopologyIndex.of(load(configuration())))
    written = to_json(of(site, config))
    assert CANARY not in str(written)
    assert from_json(written) == of(site, config)


def test_another_secret_is_told_without_a_value() -> None:
    """A secret that was encrypted anew is named; where the base's is unknown, nothing is said."""
    site = Graph(tuple(map(view, sound().resources)), TopologyIndex.of(load(configuration())))
    before, after = (of(site, {"traefik:users": {"secure": text}}) for text in ("v1:a", "v1:b"))
    (change,) = changes(before, after)
    assert change.text == "the secret `traefik:users` is written anew"
    assert changes({kind: items for kind, items in before.items() if kind != Kind.SECRET}, after) == ()
