"""What the program registers, recorded with Pulumi's mocks."""

import asyncio
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime.mocks import MockMonitor

from resources import alloy
from resources.program import made
from tests.policies.sound import LOGIN, run, with_acme
from tests.site import configuration, state, whole

PROJECT = Path(__file__).resolve().parents[2]


class Recorder(pulumi.runtime.Mocks):
    """Answer each registration with its inputs, and record them."""

    def __init__(self) -> None:
        self.resources: list[tuple[str, str, dict[str, Any]]] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Record the inputs that a provider would receive."""
        self.resources.append((args.typ, args.name, dict(args.inputs)))
        return f"{args.name}-id", {**args.inputs, **made(args.typ, args.name)}

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], None]:
        """Fail, because the program calls no function."""
        raise AssertionError(args.token)

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return inputs by resource name, of the types that end in `kind`; at least one."""
        found = {name: inputs for typ, name, inputs in self.resources if typ.endswith(kind)}
        assert found
        return found


def build(values: Mapping[str, object]) -> Recorder:
    """Run the program on a stack's configuration."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, preview=False)
    pulumi.runtime.set_all_config({k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()})

    def program() -> None:
        spec = importlib.util.spec_from_file_location("program", PROJECT / "__main__.py")
        assert spec
        assert spec.loader
        spec.loader.exec_module(importlib.util.module_from_spec(spec))

    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]
    return recorder


def recorded(folder: Path, **keys: object) -> Recorder:
    """Run the program on the sound site with some keys replaced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOMELAB_STATE", str(state(folder)))
        return build(whole() | {f"homelab-network:{key}": value for key, value in keys.items()})


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Return what the program registers for the sound site."""
    return recorded(tmp_path_factory.mktemp("state"))


def test_the_hosts_rules_come_before_what_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network and container is made after every command of the host's rules, and removed before them."""
    waits: dict[str, set[str]] = {}
    register: Any = MockMonitor.RegisterResource

    def keep(self: MockMonitor, request: Any) -> Any:
        answer = register(self, request)
        waits[answer.urn] = {*request.dependencies, request.parent} & waits.keys()
        return answer

    def before(urn: str) -> set[str]:
        return {urn}.union(*map(before, waits[urn]))

    monkeypatch.setattr(MockMonitor, "RegisterResource", keep)
    recorded(tmp_path)
    rules = {urn for urn in waits if "HostFirewall$command" in urn}
    needing = [urn for urn in waits if re.search(r"docker:index/(network:Network|container:Container)", urn)]
    assert (len(rules), len(needing)) == (5, 18)
    assert [urn for urn in needing if not rules <= before(urn)] == []


def test_only_the_ingress_publishes(dev: Recorder) -> None:
    """Only the ingress publishes ports: 80 and 443."""
    published = {
        name: [port["external"] for port in inputs["ports"]]
        for name, inputs in dev.of(":Container").items()
        if inputs.get("ports")
    }
    assert published == {"traefik": [80, 443]}


def test_every_container_is_limited_logged_and_restarted(dev: Recorder) -> None:
    """Every container has a restart policy, a memory limit, log rotation and a health check."""
    lacking = {
        name: missing
        for name, inputs in dev.of(":Container").items()
        if (
            missing := [
                key
                for key in ("restart", "memory", "memorySwap", "healthcheck", "wait")
                if not inputs.get(key)
            ]
            + [key for key in ("max-size", "max-file") if key not in inputs["logOpts"]]
        )
    }
    assert lacking == {}


def test_no_container_holds_a_key_to_the_host(dev: Recorder) -> None:
    """No container has a socket, privileges, a host namespace, a root folder or a writable host path."""
    for name, inputs in dev.of(":Container").items():
        paths = [volume["hostPath"] for volume in inputs["volumes"] if volume.get("hostPath")]
        assert not [path for path in paths if path in {"/", "/run", "/var/run"} or path.endswith(".sock")], (
            name
        )
        assert all(volume["readOnly"] for volume in inputs["volumes"] if volume.get("hostPath")), name
        assert not inputs.get("privileged"), name
        assert inputs["networkMode"] == "bridge", name
        assert not inputs.get("pidMode"), name
        assert inputs["capabilities"]["drops"] == ["ALL"], name


def test_who_runs_as_whom(dev: Recorder) -> None:
    """Only Promtail runs as root; the root file system is read-only where no file is uploaded."""
    containers = dev.of(":Container")
    assert [name for name, given in containers.items() if given["user"].startswith("0:")] == ["promtail"]
    assert (
        {name for name, given in containers.items() if given["readOnly"]}
        == {"cadvisor"}
        == {name for name, given in containers.items() if not given.get("uploads")}
    )


def test_a_declared_user_wins(tmp_path: Path) -> None:
    """A service's `user` is its container's user; without it and without a known app the user is 65534."""
    services = configuration()["services"]
    services["grafana"]["user"] = "1000:1001"
    services["wiki"] = {"zones": ["frontend"], "image": "wiki:1"}
    made = recorded(tmp_path, services=services).of(":Container")
    users = {name: given["user"] for name, given in made.items()}
    assert (users["grafana"], users["wiki"]) == ("1000:1001", "65534:65534")


def test_networks_are_as_isolated_as_their_role_says(dev: Recorder) -> None:
    """Every network but edge and probe is internal; legs are macvlan networks on the VLAN's interface."""
    networks = dev.of(":Network")
    assert {name: (given["driver"], given["internal"]) for name, given in networks.items()} == {
        "edge": ("bridge", False),
        "frontend": ("bridge", True),
        "query": ("bridge", True),
        "backend": ("bridge", True),
        "probe": ("bridge", False),
        "vlan10": ("macvlan", True),
        "vlan20": ("macvlan", True),
        "vlan30": ("macvlan", True),
    }
    assert [networks[f"vlan{tag}"]["options"] for tag in (10, 20, 30)] == [
        {"parent": f"trunk.{tag}", "macvlan_mode": "private"} for tag in (10, 20, 30)
    ]


def test_who_joins_which_network(dev: Recorder) -> None:
    """The ingress joins no query or backend network, and the UIs join no backend network."""
    joined = {
        name: [network["name"] for network in given["networksAdvanced"]]
        for name, given in dev.of(":Container").items()
    }
    assert joined == {
        "traefik": ["edge", "frontend", "vlan10", "vlan20", "vlan30"],
        "grafana": ["frontend", "query"],
        "prometheus-ui": ["frontend", "query"],
        "prometheus": ["query", "backend", "probe"],
        "loki-gateway": ["query", "backend"],
        "loki": ["backend"],
        "node-exporter": ["backend"],
        "cadvisor": ["backend"],
        "blackbox-exporter": ["probe"],
        "promtail": ["backend"],
    }


def test_guests_sit_on_their_vlan_behind_a_firewall(dev: Recorder) -> None:
    """Each guest has one card with its tag and the firewall on, DROP both ways and its own group."""
    machines = dev.of(":VmLegacy")
    options = dev.of(":OptionsLegacy")
    cards = {name: given["networkDevices"] for name, given in machines.items()}
    assert {name: [(card["vlanId"], card["firewall"]) for card in own] for name, own in cards.items()} == {
        "site-1": [(10, True)],
        "site-2": [(10, True)],
        "jellyfin": [(20, True)],
        "stirling-pdf": [(20, True)],
        "vaultwarden": [(30, True)],
    }
    assert {
        (given["enabled"], given["inputPolicy"], given["outputPolicy"], given["macfilter"], given["ipfilter"])
        for given in options.values()
    } == {(True, "DROP", "DROP", True, True)}
    assert {
        name: [rule["securityGroup"] for rule in given["rules"]]
        for name, given in dev.of(":RulesLegacy").items()
        if name in machines
    } == {name: [name] for name in machines}


def test_security_groups_accept_the_ingress_and_nobody_else(dev: Recorder) -> None:
    """A group's only rule names the ingress's leg, the port and the protocol."""
    groups = {
        name: [(r["type"], r["action"], r["source"], r["proto"], r["dport"]) for r in given["rules"]]
        for name, given in dev.of(":GroupLegacy").items()
    }
    assert groups == {
        "site-1": [("in", "ACCEPT", "dc/ingress-vlan10", "tcp", "443")],
        "site-2": [("in", "ACCEPT", "dc/ingress-vlan10", "tcp", "443")],
        "jellyfin": [("in", "ACCEPT", "dc/ingress-vlan20", "tcp", "8096")],
        "stirling-pdf": [("in", "ACCEPT", "dc/ingress-vlan20", "tcp", "8080")],
        "vaultwarden": [("in", "ACCEPT", "dc/ingress-vlan30", "tcp", "80")],
    }


def test_the_datacenter_drops_all_but_management(dev: Recorder) -> None:
    """The input policy is DROP, with one accept rule for each management flow."""
    assert dev.of(":FirewallLegacy")["datacenter"]["inputPolicy"] == "DROP"
    assert [(r["source"], r["proto"], r["dport"]) for r in dev.of(":RulesLegacy")["datacenter"]["rules"]] == [
        ("10.10.1.0/24", "tcp", "8006"),
        ("10.10.1.0/24", "tcp", "22"),
    ]


def test_the_key_is_a_secret(dev: Recorder) -> None:
    """The ingress's files, its key among them, are secrets, so that the state encrypts them."""
    assert "4dabf18193072939515e22adb298388d" in dev.of(":Container")["traefik"]["uploads"]


def test_routes_are_the_declared_ones(dev: Recorder) -> None:
    """Traefik has one router for each declared route, which leads to the service's address."""
    uploads = {u["file"]: u["content"] for u in dev.of(":Container")["traefik"]["uploads"]["value"]}
    http = yaml.safe_load(uploads["/etc/traefik/dynamic/routes.yml"])["http"]
    assert {
        router["rule"]: http["services"][router["service"]]["loadBalancer"]["servers"][0]["url"]
        for router in http["routers"].values()
    } == {
        "Host(`grafana.homelab.localhost`)": "http://grafana:3000",
        "Host(`prometheus.homelab.localhost`)": "http://prometheus-ui:8080",
        "Host(`site-1.homelab.localhost`)": "https://10.10.10.11:443",
        "Host(`site-2.homelab.localhost`)": "https://10.10.10.12:443",
        "Host(`jellyfin.homelab.localhost`)": "http://10.10.20.11:8096",
        "Host(`stirling-pdf.homelab.localhost`)": "http://10.10.20.12:8080",
        "Host(`vaultwarden.homelab.localhost`) && !PathRegexp(`(?i)^/admin`)": "http://10.10.30.11:80",
    }


def test_guests_with_an_authority_are_asked_by_tls(dev: Recorder) -> None:
    """A guest with an authority is asked by TLS, under its own name and with that authority only."""
    uploads = {u["file"]: u["content"] for u in dev.of(":Container")["traefik"]["uploads"]["value"]}
    http = yaml.safe_load(uploads["/etc/traefik/dynamic/routes.yml"])["http"]
    files = {name: f"/etc/certificates/{name}/authorities.pem" for name in ("site-1", "site-2")}
    assert http["serversTransports"] == {
        name: {"serverName": name, "rootCAs": [file]} for name, file in files.items()
    }
    told = {
        name: service["loadBalancer"].get("serversTransport") for name, service in http["services"].items()
    }
    assert {name: transport for name, transport in told.items() if transport} == {n: n for n in files}
    assert {file for file in uploads if file.startswith("/etc/certificates")} == {*files.values()}


def test_protected_volumes_are_retained(
    dev: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the stack protects its data, volumes stay after removal from the stack, and guests do not."""
    assert dev
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    register = pulumi.runtime.mocks.MockMonitor.RegisterResource

    def noted(monitor: Any, request: Any) -> Any:
        if request.custom and request.protect:
            seen[request.retainOnDelete].add(request.type.rpartition(":")[2])
        return register(monitor, request)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(pulumi.runtime.mocks.MockMonitor, "RegisterResource", noted)
    recorded(tmp_path, protect=True)
    assert (seen[True], "VmLegacy" in seen[False]) == ({"Volume"}, True)


def test_a_container_made_anew_gets_its_firewall_anew(
    dev: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system container is deleted before its replacement is made, and its firewall is replaced with it."""
    assert dev
    anew: dict[str, tuple[bool, list[str]]] = {}
    register = pulumi.runtime.mocks.MockMonitor.RegisterResource

    def noted(monitor: Any, request: Any) -> Any:
        if request.name == "jellyfin" and request.custom:
            kinds = [urn.split("::")[2].rpartition(":")[2] for urn in request.replace_with]
            anew[request.type.rpartition(":")[2]] = (request.deleteBeforeReplace, kinds)
        return register(monitor, request)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(pulumi.runtime.mocks.MockMonitor, "RegisterResource", noted)
    services = configuration()["services"]
    services["jellyfin"] |= {"kind": "lxc", "ostemplate": "local:vztmpl/debian-12.tar.zst"}
    made = recorded(tmp_path, services=services)
    assert anew == {
        "GroupLegacy": (False, []),
        "ContainerLegacy": (True, []),
        **{kind: (False, ["ContainerLegacy"]) for kind in ("IpsetLegacy", "OptionsLegacy", "RulesLegacy")},
    }
    container = made.of(":ContainerLegacy")["jellyfin"]
    assert [(card["vlanId"], card["firewall"]) for card in container["networkInterfaces"]] == [(20, True)]
    assert container["unprivileged"] is True


HELD = {
    "grafana": {"loki-gateway", "prometheus"},
    "prometheus-ui": {"prometheus"},
    "prometheus": {"prometheus", "node-exporter", "blackbox-exporter"},
    "loki": {"loki"},
    "loki-gateway": {"loki-gateway", "loki"},
    "promtail": {"loki-gateway"},
    "node-exporter": {"node-exporter"},
    "blackbox-exporter": {"blackbox-exporter"},
}


def test_certificates_are_where_their_flow_is(dev: Recorder) -> None:
    """A container holds a key for each service that it calls, and its own if it checks clients; no other."""
    held = {}
    for name, inputs in dev.of(":Container").items():
        uploads = inputs.get("uploads") or []
        files = [Path(each["file"]) for each in (uploads["value"] if isinstance(uploads, dict) else uploads)]
        held[name] = {file.parent.name for file in files if file.match("/etc/certificates/*/key.pem")}
    assert {name: services for name, services in held.items() if services} == HELD
    signed = dev.of(":LocallySignedCert")
    assert set(signed) == {
        f"{service}.{holder}.a" for holder, services in HELD.items() for service in services
    }
    for name, given in signed.items():
        (authority,) = (s for s in HELD if f"\n{s}.a\n" in given["caCertPem"])
        assert name.startswith(f"{authority}.")
        own = name == f"{authority}.{authority}.a"
        assert given["allowedUses"] == ["digital_signature", "server_auth" if own else "client_auth"]


def test_alloy_takes_promtails_place(dev: Recorder, tmp_path: Path) -> None:
    """With Alloy in Promtail's place program and configuration change; user, networks and volume stay."""
    services = configuration()["services"]
    services["promtail"] |= {"app": "alloy", "image": "grafana/alloy:v1.18.1"}
    made = recorded(tmp_path, services=services)
    before, after = (one.of(":Container")["promtail"] for one in (dev, made))
    assert {key for key in before if before[key] != after[key]} == {
        "command",
        "healthcheck",
        "image",
        "uploads",
        "volumes",
    }
    assert dev.of(":Volume").keys() == made.of(":Volume").keys()
    own, old = ({u["file"]: u["content"] for u in one["uploads"]} for one in (after, before))
    assert own.keys() - old.keys() == {ALLOY}
    assert old.keys() - own.keys() == {"/etc/promtail/config.yml"}
    mounted = [[(v.get("hostPath"), v.get("volumeName")) for v in one["volumes"]] for one in (before, after)]
    assert mounted[0] == mounted[1]
    promtail, told = yaml.safe_load(old["/etc/promtail/config.yml"]), alloy.documents(own[ALLOY])
    assert told["clients"] == promtail["clients"]
    (group,) = told["scrape_configs"][0]["static_configs"]
    assert group["labels"] == promtail["scrape_configs"][0]["static_configs"][0]["labels"]


ALLOY = "/etc/alloy/config.alloy"


def test_all_generations_are_trusted_and_one_signs(tmp_path: Path) -> None:
    """During a CA rotation every container trusts both CAs, and only the new one signs."""
    generations = {"authorities": ["old", "new"], "signer": "new"}
    made = recorded(tmp_path, certificates=generations)
    files = {given["file"]: given["content"] for given in made.of(":Container")["promtail"]["uploads"]}
    assert "\nloki-gateway.old\n" in files["/etc/certificates/loki-gateway/authorities.pem"]
    assert "\nloki-gateway.new\n" in files["/etc/certificates/loki-gateway/authorities.pem"]
    assert "\nloki-gateway.promtail.new\n" in files["/etc/certificates/loki-gateway/key.pem"]
    assert {name.rpartition(".")[2] for name in made.of(":LocallySignedCert")} == {"new"}


@pytest.mark.parametrize("authority", [True, False])
def test_certificates_from_an_acme_server(authority: bool) -> None:
    """With ACME the login is a file, certificates are kept, and the exporter trusts the named authority."""
    login = {"challenge": "hetzner", "credentials": [LOGIN]}
    trusted = {"ca-file": "$HOMELAB_STATE/tls/ingress.crt"} if authority else {}
    found = {each.name: each.inputs for each in run(with_acme(configuration(), **login, **trusted))}
    ingress, exporter = found["traefik"], found["blackbox-exporter"]
    files = {upload["file"] for upload in ingress["uploads"]}
    own = {"/etc/traefik/acme/authority.pem"} if authority else set()
    assert {file for file in files if "/acme/" in file} == {f"/etc/traefik/acme/{LOGIN}", *own}
    assert not {"/etc/traefik/tls/certificate.pem", "/etc/traefik/tls/key.pem"} & files
    assert ingress["envs"] == [f"{LOGIN}_FILE=/etc/traefik/acme/{LOGIN}"]
    assert (ingress["dns"], ingress["volumes"]) == (
        ["9.9.9.9"],
        [{"containerPath": "/var/tmp", "volumeName": "traefik-acme"}],  # noqa: S108  # a path in the container
    )
    texts = {upload["file"]: upload["content"] for upload in exporter["uploads"]}
    assert ("/etc/blackbox_exporter/chain.pem" in texts) == authority
    assert ("ca_file" in texts["/etc/blackbox_exporter/config.yml"]) == authority
