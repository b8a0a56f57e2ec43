"""A sound stack for tests to break: the program's resources for the sound site, and the site's keys."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from policies.evaluate import (
    EvaluatedResource,
    Evaluation,
    conclude,
    evaluate,
    evaluate_resource,
    evaluate_together,
)
from policies.rule import RULES, Finding, Rule
from resources import program
from resources.resource import Resource
from tests.site import configuration, state
from topology.config import load
from topology.index import TopologyIndex
from topology.model import Topology

TODAY = date(2026, 11, 23)
CANARY = "canary-0f3a9c5e71"  # in place of every secret
LOGIN = "HETZNER_API_TOKEN"
KINDS = {
    "container": "docker:index/container:Container",
    "network": "docker:index/network:Network",
    "volume": "docker:index/volume:Volume",
    "vm": "proxmoxve:index/vmLegacy:VmLegacy",
    "options": "proxmoxve:firewall/optionsLegacy:OptionsLegacy",
    "rules": "proxmoxve:firewall/rulesLegacy:RulesLegacy",
    "ipset": "proxmoxve:firewall/ipsetLegacy:IpsetLegacy",
    "alias": "proxmoxve:firewall/aliasLegacy:AliasLegacy",
    "group": "proxmoxve:cluster/firewall/security/groupLegacy:GroupLegacy",
    "datacenter": "proxmoxve:cluster/firewallLegacy:FirewallLegacy",
    "bridge": "proxmoxve:network/linux/bridge:Bridge",
    "key": "tls:index/privateKey:PrivateKey",
    "certificate": "tls:index/locallySignedCert:LocallySignedCert",
    "request": "tls:index/certRequest:CertRequest",
    "authority": "tls:index/selfSignedCert:SelfSignedCert",
    "command": "command:local:Command",
}


def with_acme(config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the site's keys with certificates by ACME and name servers for its challenges."""
    acme = {"email": "you@home.example", "name-servers": ["9.9.9.9"]}
    by_dns = {"challenge": "hetzner", "credentials": [LOGIN], "ca-file": "$HOMELAB_STATE/tls/ingress.crt"}
    leaving = ["traefik -> internet:443/tcp", "traefik -> internet:53/udp"]
    return {
        **config,
        "tls": {"acme": {**acme, **(more or by_dns)}},
        "flows": [*config["flows"], *leaving],
    }


def run(
    config: Mapping[str, Any],
    login: Mapping[str, str] | None = None,
    program: Callable[[dict[str, object]], list[Resource]] = program.resources,
) -> list[Resource]:
    """Return the resources of a configuration, with the canary in every secret except a given `login`."""
    with tempfile.TemporaryDirectory() as folder:
        state(Path(folder), f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n")
        before, os.environ["HOMELAB_STATE"] = os.environ.get("HOMELAB_STATE"), folder
        try:
            return program(
                {f"homelab-network:{key}": value for key, value in config.items()}
                | {
                    "grafana:adminPassword": f"{CANARY}-grafana",
                    "ssh:privateKey": f"{CANARY}-ssh",
                    "traefik:users": f"{CANARY}:$2b$10${'x' * 53}",
                }
                | {f"acme:{name}": value for name, value in (login or {LOGIN: f"{CANARY}-acme"}).items()}
                | {key: f"{CANARY}-{key}" for key in _held(config)}
            )
        finally:
            if before is None:
                del os.environ["HOMELAB_STATE"]
            else:
                os.environ["HOMELAB_STATE"] = before


def _held(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the configuration keys of the secrets that containers are given."""
    for service in config["services"].values():
        variables = service.get("environment", {})
        given = variables.values() if isinstance(variables, Mapping) else ()
        yield from (value["secret"] for value in given if isinstance(value, Mapping))
        yield from service.get("secrets", {}).values()


@cache
def _sound() -> bytes:
    return pickle.dumps(run(configuration()))  # its copies are made in a fifth of deepcopy's time


@dataclass(kw_only=True)
class Stack:
    """Resources and configuration, which tests may change."""

    resources: list[Resource]
    config: dict[str, Any] = field(default_factory=configuration)
    topology: Topology | None = None

    def get(self, kind: str, name: str) -> Resource:
        """Return the one resource of a kind and name."""
        (found,) = (r for r in self.resources if r.type == KINDS.get(kind, kind) and r.name == name)
        return found

    def inputs(self, kind: str, name: str) -> dict[str, Any]:
        """Return a resource's inputs, to change in place."""
        found = self.get(kind, name).inputs
        assert isinstance(found, dict)
        return found

    def add(self, kind: str, name: str, inputs: dict[str, Any]) -> None:
        """Add a resource of a known kind or any type."""
        made = KINDS.get(kind, kind)
        urn = f"urn:pulumi:dev::homelab-network::{made}::{name}"
        self.resources.append(Resource(urn=urn, type=made, name=name, inputs=inputs, provider="added"))

    def remove(self, kind: str, name: str) -> None:
        """Remove a resource."""
        self.resources.remove(self.get(kind, name))

    def mark_secret(self, kind: str, name: str, *trail: str | int) -> None:
        """Make a value a Pulumi secret."""
        old = self.get(kind, name)
        self.resources[self.resources.index(old)] = replace(old, secrets=old.secrets | {trail})

    def move(self, kind: str, name: str, provider: str) -> None:
        """Change a resource's provider."""
        old = self.get(kind, name)
        self.resources[self.resources.index(old)] = replace(old, provider=provider)

    def protect(self, *but: tuple[str, str]) -> None:
        """Protect all data, and every resource except the given ones, by kind and name."""
        self.topology = load({**self.config, "protect": True})
        bare = {(KINDS[kind], name) for kind, name in but}
        self.resources = [replace(r, protect=(r.type, r.name) not in bare) for r in self.resources]

    def judge(self, rules: Mapping[str, Rule] = RULES) -> Evaluation:
        """Return the pack's verdict."""
        return evaluate(self.resources, self.topology or _declared(json.dumps(self.config)), TODAY, rules)

    def judge_changes(self, rules: Mapping[str, Rule] = RULES) -> Evaluation:
        """Return the pack's verdict, with cached results for resources that are as in the sound stack."""
        if self.topology:
            return self.judge(rules)
        judged, declared = self._changes()
        chosen = [
            EvaluatedResource(each.view, [f for f in each.findings if f.rule in rules]) for each in judged
        ]
        return evaluate_together(chosen, declared, TODAY, rules)

    def judge_alone(self) -> tuple[Finding, ...]:
        """Return the verdict's findings that need one resource only; few mutations need more."""
        if self.topology:
            return self.judge().findings
        judged, declared = self._changes()
        return conclude([f for each in judged for f in each.findings], declared, TODAY).findings

    def _changes(self) -> tuple[list[EvaluatedResource], TopologyIndex]:
        config = json.dumps(self.config)
        declared, sound = _declared(config), _judged(config)
        judged = [
            known
            if (known := sound.get(resource.urn)) and known.view.resource == resource
            else evaluate_resource(resource, declared)
            for resource in self.resources
        ]
        return judged, declared


@lru_cache(maxsize=2)  # the sound stack's, and with ACME
def _declared(config: str) -> TopologyIndex:
    """Load a configuration, cached because most stacks have the same one."""
    return TopologyIndex.of(load(json.loads(config)))


@lru_cache(maxsize=2)
def _judged(config: str) -> dict[str, EvaluatedResource]:
    """Return the pack's result for each resource of the sound stack, by URN."""
    return {each.urn: evaluate_resource(each, _declared(config)) for each in sound().resources}


def sound() -> Stack:
    """Return a fresh copy of the sound stack."""
    return Stack(resources=pickle.loads(_sound()))  # noqa: S301  # what this module pickled


@cache
def _acme() -> bytes:
    return pickle.dumps(run(with_acme(configuration())))


def turn_to_acme(stack: Stack) -> None:
    """Replace a stack with the sound stack whose certificates come from an ACME server."""
    stack.config = with_acme(configuration())
    stack.resources = pickle.loads(_acme())  # noqa: S301  # what this module pickled
