"""The evaluation of another project's stack, with the outputs of the site's stack as its intent.

The project's configuration names the site's stack, whose outputs Pulumi is asked for: the engine shows a pack
nothing that is only read, such as a StackReference. Of the outputs `site_of` makes a topology with that
project's slots and their zones alone. It has no exceptions, so none applies there.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from datetime import date
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from policies.evaluate import EvaluatedResource, evaluate_resource, evaluate_together
from policies.rule import RULES, Finding, Rule, RuleScope
from resources.resource import Resource
from topology.index import TopologyIndex
from topology.model import DockerHost, Port, Role, Slot, Ssh, Zone
from topology.outputs import SCHEMA_VERSION, SlotOutput, ZoneOutput
from topology.project import NAME

_SECONDS: Final = 60
"""How long Pulumi may take to answer with a stack's outputs."""
_OF_THE_STACK: Final = (
    *("volumes-not-shared", "one-resource-each", "secrets-not-shared", "images-not-known-broken"),
    *("one-engine", "engine-on-the-declared-host"),
)
"""The rules about all resources together that hold in another project's stack."""
_OF_THE_SITE: Final = (
    *("containers-have-a-role", "containers-on-their-zones", "names-are-the-engines", "volumes-of-slots"),
)
"""The rules about one resource that need the site, which is known at the end of a preview."""


class SiteError(Exception):
    """Outputs that describe no slot, as `fault; remedy`."""


def named(config: Mapping[str, str]) -> str:
    """Return the stack of a site that another project's configuration names; raises SiteError."""
    found = {value for value in config.values() if value.split("/")[-2:-1] == [NAME]}
    if len(found) != 1:
        remedy = f"name the site's, like organization/{NAME}/dev"
        raise SiteError(f"the configuration names {len(found)} stacks of {NAME}; {remedy}")
    return found.pop()


def outputs_of(stack: str) -> object:
    """Return a stack's outputs as Pulumi tells them, secrets hidden; raises SiteError."""
    words = ("pulumi", "stack", "output", "--json", "--stack", stack, "--non-interactive")
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)
        fault = (done.stderr.strip().splitlines() or ["no reason told"])[-1].removeprefix("error: ")
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        fault = type(error).__name__
    remedy = "see that `pulumi stack output` shows them here"
    raise SiteError(f"{stack}: its outputs can't be read ({fault}); {remedy}")


def site_of(stack: str, outputs: object, project: str) -> TopologyIndex:
    """Return what the outputs of a site's stack say of a project's slots; raises SiteError."""
    if not isinstance(outputs, Mapping) or outputs.get("schemaVersion") != SCHEMA_VERSION:
        raise SiteError(f"{stack} has no outputs of version {SCHEMA_VERSION}; update the site's stack first")
    try:
        return _topology(outputs, project)
    except (ValidationError, KeyError, TypeError, ValueError, AttributeError):
        raise SiteError(f"{stack} has outputs that can't be read; update the site's stack first") from None


class OtherProject:
    """The evaluation of one deployment of another project.

    The rules that need no site judge a resource before it is made; the others judge the stack at the end of
    the preview. `config` is the project's configuration.
    """

    def __init__(self, project: str, config: Mapping[str, str]) -> None:
        self._config = config
        self._project, self._nothing = project, _site({}, {}, "", None)
        self._seen: dict[str, EvaluatedResource] = {}

    def one(self, resource: Resource) -> list[Finding]:
        """Return the findings about a resource, before it is made."""
        judged = evaluate_resource(resource, self._nothing, rules(site=False))
        self._seen[resource.urn] = judged
        return judged.findings

    def together(self, shown: Iterable[Resource], today: date) -> tuple[str, list[Finding]]:
        """Return the site's stack, and the findings that `one` has not returned; raises SiteError."""
        shown = tuple(shown)
        late = [finding for each in shown if each.urn not in self._seen for finding in self.one(each)]
        stack = named(self._config)
        site = site_of(stack, outputs_of(stack), self._project)
        own = rules(site=True)
        resources = [self._seen[each.urn].view.resource for each in shown]
        judged = [evaluate_resource(each, site, own) for each in resources]
        return stack, [*late, *evaluate_together(judged, site, today, own).findings]


def rules(*, site: bool) -> dict[str, Rule]:
    """Return the rules for another project's stack: those that need its site, or those that do not."""
    return {
        name: rule
        for name, rule in RULES.items()
        if (rule.scope is RuleScope.RESOURCE and (name in _OF_THE_SITE) == site)
        or (rule.scope is RuleScope.STACK and name in _OF_THE_STACK and site)
    }


def _topology(outputs: Mapping[str, Any], project: str) -> TopologyIndex:
    slots = TypeAdapter(dict[str, SlotOutput]).validate_python(outputs.get("slots", {}))
    zones = TypeAdapter(dict[str, ZoneOutput]).validate_python(outputs["zones"])
    own = {name: slot for name, slot in slots.items() if slot["project"] == project}
    if not own:
        raise SiteError(f"no slot is for project {project}; declare one in the site's stack file")
    name, slot = next(iter(own.items()))
    prefix = slot["container"].removesuffix(name)
    services = {name: _slot(name, each) for name, each in own.items()}
    joined = {zone for each in services.values() for zone in each.zones}
    found = {
        zone: Zone(name=zone, role=Role(zones[zone]["role"]), prefix=IPv4Network(zones[zone]["prefix"]))
        for zone in joined
    }
    ssh = Ssh.model_construct(address=slot["engine"]) if slot["engine"] else None
    return _site(found, services, prefix, ssh)


def _slot(name: str, told: SlotOutput) -> Slot:
    places = told["networks"].values()
    return Slot.model_validate(
        {
            "name": name,
            "host": "invalid",
            "project": told["project"],
            "zones": tuple(each["zone"] for each in places),
            "addresses": {each["zone"]: IPv4Address(each["address"]) for each in places},
            "ports": tuple(map(Port.parse, told["ports"])),
            "dns": told["nameServers"],
        }
    )


def _site(
    zones: Mapping[str, Zone], services: Mapping[str, Slot], prefix: str, ssh: Ssh | None
) -> TopologyIndex:
    return TopologyIndex.model_construct(
        domain="invalid",
        name_prefix=prefix,
        protect=False,
        docker_hosts=(DockerHost.model_construct(name="docker-srv", ssh=ssh),),
        zones=zones,
        services=services,
        flows=(),
    )
