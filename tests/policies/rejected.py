"""Stacks that the pack rejects: each breaks the sound stack and lists the rule with all of its messages."""

# ruff: noqa: D103  # a case's name says what is broken

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Network
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rendered import verify_timer
from resources.resource import UNKNOWN
from tests import machine_pages
from tests.half import docker_alone
from tests.monitoring import with_monitoring
from tests.policies import words
from tests.policies.sound import CANARY, KINDS, LOGIN, Stack, run, turn_to_acme
from tests.routers import as_a_guest, over_ssh
from topology.config import load
from topology.model import Assertion, DockerHost, Flow, PolicyException, Ssh

ROUTES = "/etc/traefik/dynamic/routes.yml"
STATIC = "/etc/traefik/traefik.yml"
MIDDLEWARES = "/etc/traefik/dynamic/middlewares.yml"
TLS = "/etc/traefik/dynamic/tls.yml"
NGINX = "/etc/nginx/nginx.conf"
WEB = "/etc/prometheus/web.yml"
SCRAPES = "/etc/prometheus/prometheus.yml"
SOURCES = "/etc/grafana/provisioning/datasources/site.yaml"
ALLOY = "/etc/alloy/config.alloy"
Change = Callable[[Stack], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A change that breaks the sound stack, and every message of the one rule that it violates."""

    name: str
    rule: str
    messages: tuple[str, ...]
    change: Change


CASES: list[Case] = []


def rejected(rule: str, *messages: str) -> Callable[[Change], Change]:
    """Register a change that makes the sound stack break a rule."""

    def register(change: Change) -> Change:
        CASES.append(Case(name=change.__name__, rule=rule, messages=messages, change=change))
        return change

    return register


def upload(stack: Stack, container: str, file: str) -> dict[str, Any]:
    """Return a file that is uploaded to a container."""
    (found,) = (u for u in stack.inputs("container", container)["uploads"] if u["file"] == file)
    assert isinstance(found, dict)
    return found


def edit(stack: Stack, container: str, file: str, change: Callable[[Any], None]) -> None:
    """Change a YAML file that is uploaded to a container."""
    given = upload(stack, container, file)
    content = yaml.safe_load(given["content"])
    change(content)
    given["content"] = yaml.safe_dump(content, sort_keys=False)


def certificate(common: str, other: str) -> str:
    """Return a certificate that names one holder as its subject and another beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    start = datetime(2026, 11, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=30))
    also = x509.SubjectAlternativeName([x509.DNSName(other)])
    signed = made.add_extension(also, critical=False).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def route(stack: Stack, name: str, host: str, url: str) -> None:
    """Add a router and its service to the ingress."""

    def change(content: Any) -> None:
        content["http"]["routers"][name] = {
            "rule": f"Host(`{host}`)",
            "entryPoints": ["websecure"],
            "service": name,
        }
        content["http"]["services"][name] = {"loadBalancer": {"servers": [{"url": url}]}}

    edit(stack, "traefik", ROUTES, change)


def container(stack: Stack, name: str, **inputs: Any) -> None:
    """Change properties of a container."""
    stack.inputs("container", name).update(inputs)


def with_words(stack: Stack) -> None:
    """Replace a stack with the sound site and a wiki with its database, in Compose's words."""
    stack.config = words.site()
    stack.resources = run(stack.config)


def with_legs(stack: Stack) -> None:
    """Replace a stack with the sound site and Prometheus's legs on guests' VLANs."""
    stack.config = with_monitoring()
    stack.resources = run(stack.config)


def leg(stack: Stack, name: str, network: str) -> None:
    """Attach a container to one more network."""
    stack.inputs("container", name)["networksAdvanced"].append({"name": network})


def open_bridges(stack: Stack) -> None:
    """Let members of each bridge reach each other: without the switch the host's rules see no frames."""
    stack.remove("command", "bridge-switch")


# ---------------------------------------------------------------------------------------- fail closed


@rejected("hosts-declared", "datacenter: is on a Proxmox host, and none is declared")
def a_firewall_of_a_host_that_nobody_declared(stack: Stack) -> None:
    firewall = stack.get("datacenter", "datacenter")
    stack.config = docker_alone()
    stack.resources = [*run(stack.config), firewall]


@rejected(
    "known-types",
    "bucket: aws:s3/bucket:Bucket is not understood, so nothing about its traffic can be proved",
)
def a_foreign_provider(stack: Stack) -> None:
    stack.add("aws:s3/bucket:Bucket", "bucket", {})


@rejected(
    "known-types",
    "zone: proxmoxve:sdn/zone/simple:Simple is not understood, so nothing about its traffic can be proved",
)
def a_proxmox_type_that_carries_traffic(stack: Stack) -> None:
    stack.add("proxmoxve:sdn/zone/simple:Simple", "zone", {})


@rejected(
    "known-types",
    "web: docker:index/service:Service is not understood, so nothing about its traffic can be proved",
)
def a_swarm_service(stack: Stack) -> None:
    stack.add("docker:index/service:Service", "web", {"name": "web"})


@rejected(
    "known-properties",
    "loki: tunnel is not understood, so nothing about its traffic can be proved",
    "loki: ports[0].hostRange is not understood, so nothing about its traffic can be proved",
)
def properties_that_nobody_knows(stack: Stack) -> None:
    container(stack, "loki", ports=[{"internal": 3100.0, "hostRange": "1-9"}], tunnel="x")


@rejected(
    "known-properties",
    "loki: networksAdvanced is not what the provider takes, so nothing about it can be proved",
)
def a_property_of_another_kind(stack: Stack) -> None:
    container(stack, "loki", networksAdvanced="backend")


@rejected(
    "known-values",
    "loki: networksAdvanced can't be known before creation, so nothing about it can be proved",
    "loki: ports[0].external can't be known before creation, so nothing about it can be proved",
)
def values_that_nobody_knows_yet(stack: Stack) -> None:
    container(stack, "loki", networksAdvanced=UNKNOWN, ports=[{"internal": 3100.0, "external": UNKNOWN}])


@rejected(
    "commands-are-our-own",
    "open: command:local:Command runs a command that can't be judged",
)
def a_command_of_somebody_else(stack: Stack) -> None:
    stack.add("command", "open", {"create": "iptables --flush"})


@rejected(
    "commands-are-our-own",
    "host-rules: command:local:Command runs a command that can't be judged: environment is not understood",
)
def the_projects_command_with_one_word_more(stack: Stack) -> None:
    stack.inputs("command", "host-rules")["environment"] = {"LD_PRELOAD": "/tmp/x.so"}  # noqa: S108


@rejected(
    "commands-are-our-own",
    "probe-rules: command:local:Command runs a command that can't be judged: "
    "its create is not that of the project's probe rules",
)
def a_chain_of_dockers_opened_wider(stack: Stack) -> None:
    stack.inputs("command", "probe-rules")["create"] += "; iptables --insert DOCKER-USER --jump ACCEPT"


@rejected(
    "commands-are-our-own",
    "verify-timer: command:local:Command runs a command that can't be judged: "
    "its stdin is not that of the project's verify timer",
)
def a_timer_that_runs_something_else(stack: Stack) -> None:
    stack.config["hosts"]["docker-srv"]["verify-every"] = "1h"
    site = load(stack.config)
    script = verify_timer.script(site, "dev").replace("-m commands verify", "-m http.server")
    stack.add(
        "command",
        "verify-timer",
        {"create": verify_timer.INSTALL, "delete": verify_timer.remove(site), "stdin": script},
    )


@rejected(
    "remote-commands-know-their-host",
    "copy: connection.hostKey is not set, so any machine may answer for the host",
)
def a_remote_command_without_a_host_key(stack: Stack) -> None:
    stack.add("command:remote:CopyFile", "copy", {"connection": {"host": "10.10.1.5"}, "localPath": "x"})


@rejected(
    "remote-commands-know-their-host",
    "run: connection.proxy is set, so another machine gets a login",
    "run: connection.port is 2222, where another program may answer for the host",
)
def a_remote_command_by_another_machine(stack: Stack) -> None:
    way = {"port": 2222.0, "proxy": {"host": "192.0.2.1", "user": "x"}}
    connection = {"host": "10.10.1.5", "hostKey": "ssh-ed25519 AAAA", **way}
    stack.add("command:remote:Command", "run", {"connection": connection, "create": "true"})


@rejected("one-engine", "loki: is on engine ssh://root@10.10.1.9, where the others are not")
def a_container_on_another_engine(stack: Stack) -> None:
    stack.add("pulumi:providers:docker", "other", {"host": "ssh://root@10.10.1.9"})
    stack.move("container", "loki", stack.resources[-1].urn)


@rejected("one-engine", "vaultwarden: is on API https://10.10.1.9:8006/, where the others are not")
def a_guest_on_another_api(stack: Stack) -> None:
    stack.add("pulumi:providers:proxmoxve", "other", {"endpoint": "https://10.10.1.9:8006/"})
    stack.move("options", "vaultwarden", stack.resources[-1].urn)


@rejected("resources-on-their-host", "loki: is on the engine of docker-2, and belongs to docker-srv")
def a_container_on_another_docker_host(stack: Stack) -> None:
    declared, ssh = load(stack.config), Ssh.model_validate({**SSH, "address": "10.10.1.8"})
    second = DockerHost(name="docker-2", ssh=ssh)
    stack.topology = declared.model_copy(update={"docker_hosts": (declared.docker, second)})
    stack.add("pulumi:providers:docker", "docker-2", {"host": "ssh://root@10.10.1.8"})
    stack.move("container", "loki", stack.resources[-1].urn)


SSH = {"address": "docker-srv.lan", "host-key": "ssh-ed25519 AAAA"}


@rejected(
    "engine-on-the-declared-host",
    "default: host is ssh://10.10.1.9, and the host's rules are installed on docker-srv.lan",
    "other: context names an engine that can't be known",
    "socket: host is unix:///srv/engine, and the host's rules are installed on docker-srv.lan",
    "tls: host is tcp://docker-srv:2376, and the host's rules are installed on docker-srv.lan",
    "mine: host is ssh://docker-srv.lan/run/user/1000/docker.sock, which may be another engine than that "
    "machine's own",
)
def engines_of_other_machines(stack: Stack) -> None:
    stack.config["hosts"]["docker-srv"]["ssh"] = SSH
    for name, inputs in {
        "default": {"host": "ssh://me:word@10.10.1.9"},
        "other": {"host": "ssh://docker-srv.lan", "context": "prod"},
        "socket": {"host": "unix:///srv/engine"},
        "tls": {"host": "tcp://docker-srv:2376"},
        "mine": {"host": "ssh://docker-srv.lan/run/user/1000/docker.sock"},
        "same": {"host": "ssh://you@Docker-SRV.lan:2222"},
        "own": {"host": "ssh://docker-srv.lan/var/run/docker.sock"},
    }.items():
        stack.add("pulumi:providers:docker", name, inputs)


@rejected(
    "engine-on-the-declared-host",
    "docker-srv: host is not set, and the host's rules are installed on docker-srv.lan",
)
def no_engine_where_the_host_is_another(stack: Stack) -> None:
    stack.config["hosts"]["docker-srv"]["ssh"] = SSH


@rejected(
    "engine-on-the-declared-host",
    "default: host is tcp://10.10.1.9:2376, and the host's rules are installed on this machine",
    "mine: host is unix:///run/user/1000/docker.sock, which may be another engine than this machine's own",
    "hidden: host is unix:///var/run/user/1000/docker.sock, which may be another engine than this "
    "machine's own",
    "passed-on: host is unix:///tmp/docker.sock, which may be another engine than this machine's own",
    "podman: host is unix:///run/podman/podman.sock, which may be another engine than this machine's own",
)
def an_engine_without_the_hosts_rules(stack: Stack) -> None:
    stack.add("pulumi:providers:docker", "default", {"host": "tcp://10.10.1.9:2376", "certPath": "/x"})
    for name, socket in {
        "mine": "/run/user/1000/docker.sock",
        "hidden": "/var/run/user/1000/docker.sock",
        "passed-on": "/tmp/docker.sock",  # noqa: S108  # a path of a test
        "podman": "/run/podman/podman.sock",
        "own": "/run/docker.sock",
        "second": "/var/run/second/docker-2.sock",
    }.items():
        stack.add("pulumi:providers:docker", name, {"host": f"unix://{socket}"})


@rejected(
    "api-on-the-declared-host",
    "bare: endpoint is not set, so the environment of the engine says which API it is",
    "other: endpoint is https://10.10.1.9:8006/, and the declared host is 10.10.1.5; "
    "if 10.10.1.9 is that host's, declare address: 10.10.1.9",
    "other: ssh.agentForwarding is set, so another machine gets the login",
    "nested: ssh.nodes is set, so another machine gets the login",
    "nested: ssh.socks5Server is set, so another machine gets the login",
    "asking: ssh.nodeAddressSource is set, so another machine gets the login",
    *(
        f"{name}: endpoint has its host behind a login, as a number or in other letters, "
        "so it is not what it looks like"
        for name in ("behind", "number", "short", "dotted")
    ),
)
def an_api_of_another_machine(stack: Stack) -> None:
    stack.add("pulumi:providers:proxmoxve", "bare", {"username": "root@pam"})
    nested = '{"nodes": [{"name": "pve1", "address": "10.10.1.9"}], "socks5Server": "10.10.1.9:1080"}'
    providers: dict[str, dict[str, Any]] = {
        "other": {"endpoint": "https://10.10.1.9:8006/", "ssh": {"agentForwarding": True}},
        "nested": {"endpoint": "https://10.10.1.5:8006/", "ssh": nested},
        "named": {"endpoint": "https://proxmox-srv.lan:8006/", "ssh": '{"agent": true}'},
        "tunnel": {"endpoint": "https://127.0.0.1:8006/", "ssh": {"nodeAddressSource": "api"}},
        "asking": {"endpoint": "https://10.10.1.5:8006/", "ssh": {"nodeAddressSource": "dns"}},
        "behind": {"endpoint": "https://10.10.1.5@pve.example:8006/"},
        "number": {"endpoint": "https://0x0a0a0109:8006/"},
        "short": {"endpoint": "https://10.657673:8006/"},
        "dotted": {"endpoint": "https://10\N{IDEOGRAPHIC FULL STOP}10.1.9\N{IDEOGRAPHIC FULL STOP}:8006/"},
    }
    for name, inputs in providers.items():
        stack.add("pulumi:providers:proxmoxve", name, inputs)


@rejected(
    "providers-published",
    "default_1_2_1_https_/x.example: pluginDownloadURL takes its program from elsewhere",
    "default_8_6_0_https_/x_github_/api.github.com/muhlba91/pulumi-proxmoxve: "
    "pluginDownloadURL takes its program from elsewhere",
    "told: pluginDownloadURL takes its program from elsewhere",
    "kept: pluginDownloadURL takes its program from elsewhere",
    "made: parameterization makes it of another provider's program",
)
def providers_from_elsewhere(stack: Stack) -> None:
    published, elsewhere = "github://api.github.com/muhlba91/pulumi-proxmoxve", "https://x.example/"
    stack.add("pulumi:providers:command", "default_1_2_1_https_/x.example", {})
    named = "default_8_6_0_https_/x_github_/api.github.com/muhlba91/pulumi-proxmoxve"
    stack.add("pulumi:providers:proxmoxve", named, {})
    stack.add("pulumi:providers:tls", "told", {"pluginDownloadURL": elsewhere})
    stack.add("pulumi:providers:docker", "kept", {"__internal": {"pluginDownloadURL": elsewhere}})
    stack.add("pulumi:providers:command", "made", {"__internal": {"parameterization": {"name": "x"}}})
    right = "default_8_6_0_github_/api.github.com/muhlba91/pulumi-proxmoxve"
    stack.add("pulumi:providers:proxmoxve", right, {"__internal": {"pluginDownloadURL": published}})


@rejected(
    "logins-are-secrets",
    "default: password is a login in plain text",
    "default: ssh.password is a login in plain text",
    "engine: registryAuth[0].password is a login in plain text",
    "engine: keyMaterial is a login in plain text",
    "engine: host holds a login in plain text",
    "site-1: initialization.userAccount.password is a login in plain text",
    "site-2: description is a private key in plain text",
    "jellyfin: description holds password in plain text",
    "vmbr1: comment holds a login in plain text",
    "backend: labels[0] holds api-token in plain text",
)
def logins_in_plain_text(stack: Stack) -> None:
    stack.add(
        "pulumi:providers:proxmoxve",
        "default",
        {"password": CANARY, "apiToken": CANARY, "ssh": f'{{"username": "root", "password": "{CANARY}"}}'},
    )
    stack.mark_secret("pulumi:providers:proxmoxve", "default", "apiToken")
    auth = [{"address": "x", "password": CANARY}]
    engine = {"host": f"ssh://me:{CANARY}@x", "keyMaterial": CANARY, "registryAuth": auth}
    stack.add("pulumi:providers:docker", "engine", engine)
    stack.inputs("vm", "site-1")["initialization"]["userAccount"] = {"username": "me", "password": CANARY}
    stack.inputs("vm", "site-2")["description"] = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    stack.inputs("vm", "jellyfin")["description"] = f"jellyfin\npassword: {CANARY}"
    stack.inputs("bridge", "vmbr1")["comment"] = f"see https://me:{CANARY}@x/"
    stack.inputs("network", "backend")["labels"] = [{"label": "api-token", "value": CANARY}]


@rejected(
    "one-resource-each",
    "loki: makes container loki, as again does",
    "loki: makes address 172.30.3.207, as again does",
)
def two_containers_of_one_name(stack: Stack) -> None:
    stack.add("container", "again", copy.deepcopy(stack.inputs("container", "loki")))


@rejected("one-resource-each", "promtail: makes address 172.30.3.207, as loki does")
def two_containers_of_one_address(stack: Stack) -> None:
    stack.inputs("container", "promtail")["networksAdvanced"][0]["ipv4Address"] = "172.30.3.207"


@rejected("one-resource-each", "host-rules: makes the host rules, as again does")
def rules_that_are_removed_with_their_twin(stack: Stack) -> None:
    stack.add("command", "again", dict(stack.inputs("command", "host-rules")))


@rejected("one-resource-each", "vaultwarden: makes firewall options of 301, as again does")
def two_options_of_one_guest(stack: Stack) -> None:
    stack.add("options", "again", copy.deepcopy(stack.inputs("options", "vaultwarden")))


# ------------------------------------------------------------------------------------------- rendered


def replace_in(stack: Stack, name: str, file: str, old: str, new: str) -> None:
    """Change the text of a file that is uploaded to a container."""
    given = upload(stack, name, file)
    assert old in given["content"]
    given["content"] = given["content"].replace(old, new, 1)


@rejected(
    "containers-as-rendered",
    "loki: entrypoints[0]: expected nothing",
    "loki: stopSignal: expected nothing",
    "traefik: entrypoints[0]: expected nothing",
    "traefik: /srv/run: expected nothing",
    "grafana: envs[GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES]: expected "
    "`GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES=false`",
    "grafana: image: expected `homelab-lab/grafana-stand-in:1`",
    "grafana: volumes[/var/lib/grafana].containerPath: expected `/var/lib/grafana`",
    "prometheus-ui: command[1]: expected `-g`",
)
def other_programs_in_known_containers(stack: Stack) -> None:
    volumes = stack.inputs("container", "loki")["volumes"]
    container(stack, "grafana", image="homelab-lab/loki:3.6.3", volumes=volumes, envs=None)
    container(stack, "loki", entrypoints=["/bin/wrapper"], stopSignal="SIGKILL")
    container(stack, "prometheus-ui", command=["nginx", "-c", "/etc/other.conf"])
    more(stack, "traefik", text("/srv/run"), entrypoints=["sh", "/srv/run"])


@rejected(
    "containers-as-rendered",
    "loki: hostname: expected nothing",
    "loki: mustRun: expected `True`",
    "loki: restart: expected `unless-stopped`",
    "loki: sysctls[net/ipv4/ip_forward]: expected nothing",
    "promtail: command[1]: expected nothing",
    "prometheus: command[1]: expected `--web.config.file=/etc/prometheus/web.yml`",
    "grafana: envs[GF_SECURITY_ADMIN_PASSWORD__FILE]: expected "
    "`GF_SECURITY_ADMIN_PASSWORD__FILE=/etc/grafana/admin-password`",
)
def settings_that_no_rule_knows(stack: Stack) -> None:
    stack.inputs("container", "grafana")["envs"] += [
        "GF_AUTH_ANONYMOUS_ENABLED=true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE=Admin",
        "GF_AUTH_PROXY_ENABLED=true",
    ]
    password = "GF_SECURITY_ADMIN_PASSWORD__FILE"  # a variable's name
    envs = stack.inputs("container", "grafana")["envs"]
    envs[:] = [each for each in envs if not each.startswith(password)]
    container(
        stack, "loki", hostname="wiki", sysctls={"net/ipv4/ip_forward": ""}, mustRun=False, restart="no"
    )
    stack.inputs("container", "promtail")["command"].append("-client.url=https://192.0.2.1/loki/api/v1/push")
    stack.inputs("container", "prometheus")["command"].pop(1)


@rejected(
    "containers-as-rendered",
    "loki: /etc/loki/config.yaml: expected one upload",
    "traefik: /etc/traefik/traefik.yml line 26: expected `      tls: {}`",
    "traefik: /etc/traefik/dynamic/routes.yml line 84: expected nothing",
    "traefik: /etc/traefik/dynamic/middlewares.YML: expected nothing",
    "traefik: /etc/traefik/dynamic/tls.yml permissions: expected nothing",
    "traefik: /etc/traefik/dynamic/middlewares.yml: expected this file",
    "grafana: /etc/grafana/provisioning/datasources/site.yaml line 1: expected `apiVersion: 1`",
    "prometheus-ui: /etc/nginx/other.conf: expected nothing",
    "prometheus-ui: /etc/nginx/nginx.conf: expected this file",
)
def files_more_less_and_different(stack: Stack) -> None:
    replace_in(stack, "traefik", STATIC, "      tls: {}\n", "      tls: false\n")
    upload(stack, "traefik", ROUTES)["content"] += "\n"
    upload(stack, "traefik", MIDDLEWARES)["file"] = "/etc/traefik/dynamic/middlewares.YML"
    upload(stack, "traefik", TLS)["permissions"] = "0600"
    upload(stack, "grafana", SOURCES)["content"] = UNKNOWN
    upload(stack, "prometheus-ui", NGINX)["file"] = "/etc/nginx/other.conf"
    stack.inputs("container", "loki")["uploads"].append(text("/etc/loki/config.yaml"))


@rejected(
    "containers-as-rendered",
    "node-exporter: tmpfs[/tmp]: expected `rw,noexec,nosuid,nodev,size=64m,mode=1777`",
    "loki: volumes[/etc/loki].containerPath: expected nothing",
    "traefik: volumes[/etc/traefik/traefik.toml].containerPath: expected nothing",
    "prometheus: mounts[0].source: expected nothing",
)
def mounts_that_nobody_declared(stack: Stack) -> None:
    own = {"containerPath": "/etc/loki", "volumeName": "loki-data"}
    stack.inputs("container", "loki")["volumes"].append(own)
    toml = {"containerPath": "/etc/traefik/traefik.toml", "hostPath": "/srv/traefik.toml", "readOnly": True}
    container(stack, "traefik", volumes=[toml, toml])
    container(stack, "prometheus", mounts=[{"type": "volume", "source": "x", "target": "/etc/prometheus"}])
    container(stack, "node-exporter", tmpfs={"/etc/prometheus": ""})


@rejected(
    "containers-as-rendered",
    "promtail: /etc/certificates/loki-gateway/key.pem: expected what components.authorities generates",
    "traefik: /etc/traefik/tls/certificate.pem: expected certificates alone from the file that "
    "tls.certificate names",
    "traefik: /etc/traefik/tls/key.pem: expected a private key, as a secret, from the file that"
    " tls.key names",
    "traefik: /etc/traefik/users: expected the secret traefik:users",
    "grafana: /etc/grafana/admin-password: expected the secret grafana:adminPassword",
)
def contents_of_another_kind(stack: Stack) -> None:
    config = stack.get("container", "traefik")
    place = [each["file"] for each in config.inputs["uploads"]].index("/etc/traefik/users")
    upload(stack, "traefik", "/etc/traefik/tls/certificate.pem")["content"] = "http: {routers: {}}"
    upload(stack, "traefik", "/etc/traefik/tls/key.pem")["content"] = "-----BEGIN CERTIFICATE-----\n"
    upload(stack, "grafana", "/etc/grafana/admin-password")["content"] = ""
    upload(stack, "promtail", "/etc/certificates/loki-gateway/key.pem")["content"] = None
    bare = replace(config, secrets=config.secrets - {("uploads", place, "content")})
    stack.resources[stack.resources.index(config)] = bare


@rejected(
    "containers-as-rendered",
    "loki: services.loki.arguments[0] would replace what loki sets itself; leave it out",
    'loki-gateway: services.loki-gateway.files["/etc/nginx/nginx.conf"] would replace what '
    "loki-gateway sets itself; leave it out",
    "loki-gateway: services.loki-gateway.arguments[0] would replace what loki-gateway sets "
    "itself; leave it out",
    "loki-gateway: services.loki-gateway.arguments[1] would replace what loki-gateway sets "
    "itself; leave it out",
    "grafana: services.grafana.environment.GF_SECURITY_ADMIN_PASSWORD__FILE would replace what "
    "grafana sets itself; leave it out",
)
def settings_that_replace_the_apps_own(stack: Stack) -> None:
    services = stack.config["services"]
    services["grafana"]["environment"] = {
        "GF_SECURITY_ADMIN_PASSWORD__FILE": "/etc/x",
        "GF_LOG_LEVEL": "warn",
    }
    services["loki-gateway"] |= {"files": {NGINX: "events {}"}, "arguments": ["-c", "/etc/nginx/own.conf"]}
    services["loki"]["arguments"] = ["--config.file=/etc/loki/own.yaml", "-log.level=warn"]
    stack.resources[:] = run(stack.config)


@rejected("containers-as-rendered", "names: image: expected `example/names:1.0`")
def another_image_than_the_declared_one(stack: Stack) -> None:
    with_words(stack)
    container(stack, "names", image="grafana/loki:3.6.3")


# ----------------------------------------------------------------------------------------- containers


@rejected(
    "only-the-ingress-publishes",
    "cadvisor: publishes 0.0.0.0:8081 -> 8080/tcp, which no declared flow from outside uses",
)
def cadvisor_published_on_all_interfaces(stack: Stack) -> None:
    container(stack, "cadvisor", ports=[{"internal": 8080.0, "external": 8081.0}])


@rejected(
    "only-the-ingress-publishes",
    "loki: publishes a random port -> 3100/tcp, which no declared flow from outside uses",
)
def a_random_published_port(stack: Stack) -> None:
    container(stack, "loki", ports=[{"internal": 3100.0}])


@rejected("only-the-ingress-publishes", "grafana: publishes all its ports on random ports")
def all_ports_published(stack: Stack) -> None:
    container(stack, "grafana", publishAllPorts=True)


@rejected(
    "only-the-ingress-publishes",
    "prometheus: publishes 127.0.0.1:9090 -> 9090/tcp, which no declared flow from outside uses",
)
def a_port_published_on_loopback(stack: Stack) -> None:
    container(stack, "prometheus", ports=[{"internal": 9090.0, "external": 9090.0, "ip": "127.0.0.1"}])


@rejected(
    "only-the-ingress-publishes",
    "minio: publishes 0.0.0.0:9000 -> 9000/tcp, which no declared flow from outside uses",
    "minio: publishes 0.0.0.0:9001 -> 9001/tcp, which no declared flow from outside uses",
)
def storage_administration_published(stack: Stack) -> None:
    stack.add(
        "container",
        "minio",
        {
            "name": "minio",
            "image": "minio:1",
            "ports": [{"internal": p, "external": p} for p in (9000.0, 9001.0)],
        },
    )


@rejected(
    "only-the-ingress-publishes",
    "traefik: publishes 0.0.0.0:8080 -> 8080/tcp, which no declared flow from outside uses",
)
def a_published_entrypoint_that_does_not_exist(stack: Stack) -> None:
    stack.inputs("container", "traefik")["ports"].append({"internal": 8080.0, "external": 8080.0})


@rejected(
    "only-the-ingress-publishes",
    "traefik: publishes 0.0.0.0:8443 -> 443/tcp, which no declared flow from outside uses",
    "traefik: publishes 192.0.2.9:80 -> 80/tcp, which no declared flow from outside uses",
    "traefik: publishes 0.0.0.0:443 -> 443/udp, which no declared flow from outside uses",
    "loki: publishes 0.0.0.0:443 -> 443/tcp, which no declared flow from outside uses",
)
def declared_ports_published_in_another_way(stack: Stack) -> None:
    http, https = stack.inputs("container", "traefik")["ports"]
    others = [https | {"external": 8443.0}, http | {"ip": "192.0.2.9"}, https | {"protocol": "udp"}]
    container(stack, "traefik", ports=others)
    container(stack, "loki", ports=[https])


@rejected(
    "only-the-ingress-publishes",
    "web: publishes 8443 -> 443/tcp, which no declared flow from outside uses",
)
def a_swarm_endpoint(stack: Stack) -> None:
    endpoint = {"ports": [{"targetPort": 443.0, "publishedPort": 8443.0}]}
    stack.add("docker:index/service:Service", "web", {"name": "web", "endpointSpec": endpoint})


@rejected("own-namespaces", "node-exporter: networkMode host gives it the host's network")
def node_exporter_on_host_networking(stack: Stack) -> None:
    container(stack, "node-exporter", networkMode="host", networksAdvanced=[])


@rejected("own-namespaces", "loki: networkMode gives it the network of container traefik")
def a_shared_network_stack(stack: Stack) -> None:
    container(stack, "loki", networkMode="container:traefik", networksAdvanced=[])


@rejected(
    "own-namespaces",
    "cadvisor: pidMode host shares a namespace",
    "cadvisor: ipcMode host shares a namespace",
    "cadvisor: usernsMode host shares a namespace",
    "cadvisor: cgroupnsMode host shares a namespace",
)
def the_hosts_namespaces(stack: Stack) -> None:
    container(stack, "cadvisor", pidMode="host", ipcMode="host", usernsMode="host", cgroupnsMode="host")


def _bind(stack: Stack, name: str, path: str, *, read_only: bool = True) -> None:
    stack.inputs("container", name)["volumes"].append(
        {"containerPath": "/x", "hostPath": path, "readOnly": read_only}
    )


@rejected(
    "no-docker-socket",
    "traefik: mounts /run/docker.sock, where the host's sockets are; read-only limits nothing",
)
def the_docker_socket_read_only(stack: Stack) -> None:
    _bind(stack, "traefik", "/var/run/docker.sock")


@rejected(
    "no-docker-socket",
    "node-exporter: mounts /, where the host's sockets are; read-only limits nothing",
)
def the_root_folder_read_only(stack: Stack) -> None:
    _bind(stack, "node-exporter", "/")


@rejected(
    "no-docker-socket",
    "promtail: mounts /run, where the host's sockets are; read-only limits nothing",
)
def the_folder_of_the_socket_by_a_mount(stack: Stack) -> None:
    container(stack, "promtail", mounts=[{"type": "bind", "source": "/tmp/../var/run", "target": "/r"}])  # noqa: S108


@rejected("no-docker-socket", "traefik: envs.DOCKER_HOST points it at an engine")
def the_engine_over_the_network(stack: Stack) -> None:
    container(stack, "traefik", envs=["DOCKER_HOST=tcp://172.30.0.1:2375"])


@rejected(
    "no-docker-socket",
    *(
        f"grafana: mounts {path}, where the host's sockets are; read-only limits nothing"
        for path in (
            "/run/docker",
            "/run/podman",
            "/run/user/1000",
            "/run/dbus",
            "/run/lock",
            "/srv/x.sock",
            "/srv/x.socket",
        )
    ),
)
def folders_of_sockets(stack: Stack) -> None:
    for path in ("docker", "podman", "user/1000/", "dbus", "/lock"):
        _bind(stack, "grafana", f"/var/run/{path}")
    _bind(stack, "grafana", "/srv/./x.sock")
    _bind(stack, "grafana", "/srv/x.socket")


@rejected(
    "engine-socket-not-mounted",
    "grafana: mounts /srv/engine, where the engine's own socket is",
    "grafana: mounts /srv, where the engine's own socket is",
)
def the_folder_of_the_providers_own_socket(stack: Stack) -> None:
    stack.add("pulumi:providers:docker", "default", {"host": "unix:///srv/engine/api"})
    for path in ("/srv/engine", "/srv", "/srv/engines"):
        _bind(stack, "grafana", path)


@rejected("host-folders-read-only", "cadvisor: mounts /sys of the host writable")
def a_writable_host_folder(stack: Stack) -> None:
    stack.inputs("container", "cadvisor")["volumes"][0]["readOnly"] = False


@rejected("host-folders-read-only", "loki: mounts /etc/ssl of the host, where secrets of others are")
def a_sensitive_host_folder(stack: Stack) -> None:
    _bind(stack, "loki", "/etc/ssl")


@rejected(
    "host-folders-read-only",
    "node-exporter: mounts /proc/1 of the host, where secrets of others are",
    "loki: mounts /etc of the host, where secrets of others are",
)
def a_process_of_the_host_and_a_folder_as_a_volume(stack: Stack) -> None:
    _bind(stack, "node-exporter", "/proc/1")
    own = {"volumeName": "/etc", "containerPath": "/srv", "readOnly": True}
    stack.inputs("container", "loki")["volumes"].append(own)


@rejected(
    "host-folders-read-only",
    "promtail: mounts /var/lib/homelab-network/docker of the host, where secrets of others are",
)
def the_engines_whole_folder(stack: Stack) -> None:
    _bind(stack, "promtail", "/var/lib/homelab-network/docker")


@rejected(
    "host-folders-read-only",
    *(
        f"grafana: mounts {path} of the host, where secrets of others are"
        for path in (
            "/proc/1/root",
            "/proc",
            "/var/lib/containerd",
            "/var/lib/docker/volumes",
            "/var/lib",
            "/var/snap/docker",
            "/var/lib/homelab-network/docker/containers",
            "/var/lib/homelab-network/docker/image",
            "/home/you/.docker",
        )
    ),
    "grafana: mounts loki-data, which may be another folder than it says",
    "grafana: mounts /srv/link/../x, which may be another folder than it says",
)
def folders_with_the_data_of_others(stack: Stack) -> None:
    _bind(stack, "grafana", "/proc/1/root")
    _bind(stack, "grafana", "/proc")
    for path in ("containerd", "docker/volumes", "", "../snap/docker"):
        _bind(stack, "grafana", f"/var/lib/{path}".replace("lib/..", "").replace("//", "/"))
    for path in ("containers", "image"):
        _bind(stack, "grafana", f"/var/lib/homelab-network/docker/{path}")
    for path in ("/home/you/.docker", "loki-data", "/srv/link/../x"):
        _bind(stack, "grafana", path)


@rejected("host-folders-read-only", "loki: mounts /srv of the host with propagation")
def a_propagated_mount(stack: Stack) -> None:
    options = {"propagation": "rshared"}
    mount = {"type": "bind", "source": "/srv", "target": "/srv", "readOnly": True, "bindOptions": options}
    container(stack, "loki", mounts=[mount])


@rejected("host-folders-read-only", "grafana: mounts everything that another container mounts")
def the_volumes_of_another_container(stack: Stack) -> None:
    stack.inputs("container", "grafana").setdefault("volumes", []).append({"fromContainer": "prometheus"})


@rejected(
    "volumes-are-local",
    "loki-data: driverOpts may make it any folder of the host or of another machine",
)
def a_volume_that_is_a_host_folder(stack: Stack) -> None:
    options = {"type": "none", "o": "bind", "device": "/var/run"}
    stack.inputs("volume", "loki-data")["driverOpts"] = options


@rejected(
    "volumes-are-local",
    "loki: mounts[0].volumeOptions may make it any folder, also of another machine",
    "loki: mounts[1].volumeOptions may make it any folder, also of another machine",
)
def a_mount_that_makes_its_volume(stack: Stack) -> None:
    options = [{"driverOptions": {"type": "nfs", "o": "addr=10.10.1.9"}}, {"driverName": "vieux/sshfs"}]
    mounts = [
        {"type": "volume", "source": "loki-data", "target": "/x", "volumeOptions": each} for each in options
    ]
    container(stack, "loki", mounts=mounts)


@rejected("volumes-are-local", "loki-data: driver vieux/sshfs may send its data anywhere")
def a_volume_on_another_machine(stack: Stack) -> None:
    stack.inputs("volume", "loki-data")["driver"] = "vieux/sshfs"


@rejected(
    "volumes-not-shared",
    "loki: mounts volume loki-data, as grafana does",
    "prometheus: mounts volume elsewhere, which is not in the stack",
    "grafana-data: no container mounts volume grafana-data",
    "prometheus-data: no container mounts volume prometheus-data",
)
def a_volume_in_two_containers(stack: Stack) -> None:
    stack.inputs("container", "grafana")["volumes"][0]["volumeName"] = "loki-data"
    stack.inputs("container", "prometheus")["volumes"][0]["volumeName"] = "elsewhere"


@rejected("no-privileges", "cadvisor: is privileged")
def a_privileged_container(stack: Stack) -> None:
    container(stack, "cadvisor", privileged=True)


@rejected("no-privileges", "grafana: capability NET_ADMIN reaches beyond the container")
def a_capability_over_the_network(stack: Stack) -> None:
    stack.inputs("container", "grafana")["capabilities"]["adds"] = ["CAP_NET_ADMIN"]


@rejected(
    "no-privileges",
    "grafana: keeps capability NET_RAW, with which it can speak for its neighbours; drop ALL",
)
def capabilities_left_as_docker_gives_them(stack: Stack) -> None:
    del stack.inputs("container", "grafana")["capabilities"]


@rejected(
    "no-privileges",
    "loki: may gain privileges; set securityOpts no-new-privileges:true",
    "loki: securityOpts seccomp=unconfined switches a protection off",
    "loki: runtime kata is not the engine's own",
)
def protections_switched_off(stack: Stack) -> None:
    container(stack, "loki", securityOpts=["seccomp=unconfined"], runtime="kata")


@rejected("no-privileges", "loki: securityOpts label may switch a protection off")
def an_option_of_another_security_module(stack: Stack) -> None:
    stack.inputs("container", "loki")["securityOpts"].append("label=type:spc_t")


@rejected(
    "containers-not-root",
    "grafana: runs as root",
    "prometheus: runs as root",
    "loki: user (not set) is not uid:gid, so it may be root",
    "cadvisor: user root is not uid:gid, so it may be root",
    "traefik: runs as root",
)
def containers_that_run_as_root(stack: Stack) -> None:
    container(stack, "grafana", user="0:0")
    container(stack, "prometheus", user="00:65534")
    del stack.inputs("container", "loki")["user"]
    container(stack, "cadvisor", user="root")
    container(stack, "traefik", user="0:65534")


@rejected(
    "root-read-only",
    "node-exporter: may write to its root file system",
    "cadvisor: may write to its root file system",
    "loki: tmpfs /tmp is not rw, noexec, nosuid, nodev, and of a size and mode",
    "grafana: tmpfs /tmp is not rw, noexec, nosuid, nodev, and of a size and mode",
    "prometheus: has a read-only root, into which the engine copies no upload",
)
def file_systems_left_writable(stack: Stack) -> None:
    container(stack, "node-exporter", readOnly=False, uploads=[])
    del stack.inputs("container", "cadvisor")["readOnly"]
    container(stack, "loki", tmpfs={"/tmp": ""})  # noqa: S108
    container(stack, "grafana", tmpfs={"/tmp": "rw,noexec,nosuid,nodev,mode=1777"})  # noqa: S108
    container(stack, "prometheus", readOnly=True)


@rejected(
    "memory-limited",
    "loki: memory and memorySwap are not one limit",
    "grafana: memory and memorySwap are not one limit",
    "cadvisor: memory and memorySwap are not one limit",
)
def memory_without_a_limit(stack: Stack) -> None:
    del stack.inputs("container", "loki")["memory"]
    container(stack, "grafana", memorySwap=-1.0)
    container(stack, "cadvisor", memory=0.0, memorySwap=0.0)


@rejected("no-devices", "cadvisor: holds device /dev/kmsg")
def a_device_of_the_host(stack: Stack) -> None:
    container(stack, "cadvisor", devices=[{"hostPath": "/dev/kmsg"}])


@rejected("no-devices", "cadvisor: is given devices by rule or request")
def devices_by_rule(stack: Stack) -> None:
    container(stack, "cadvisor", deviceCgroupRules=["c 10:200 rwm"])


@rejected(
    "no-devices",
    "cadvisor: is given devices by rule or request",
    "loki: is given devices by rule or request",
)
def devices_by_request(stack: Stack) -> None:
    container(stack, "cadvisor", deviceRequests=[{"driver": "nvidia", "count": -1}])
    container(stack, "loki", gpus="all")


@rejected("images-pinned", "grafana: image grafana/grafana:latest names no version")
def an_image_that_moves(stack: Stack) -> None:
    container(stack, "grafana", image="grafana/grafana:latest")


@rejected(
    "images-not-known-broken",
    "traefik: image traefik:v3.7.17 has CVE-2026-137481 (sanitizePath leaves /..;x/, so a path can pass a "
    "router's rule), fixed in 3.7.18; the internet reaches it in 1 hop, via docker-srv:80/tcp -> traefik",
    "promtail: image grafana/promtail:3.6.3 has its end of life on 2026-03-02: gets no fixes any more; "
    "the internet does not reach it",
)
def images_with_known_faults(stack: Stack) -> None:
    container(stack, "traefik", image="traefik:v3.7.17")
    container(stack, "promtail", image="grafana/promtail:3.6.3")


@rejected(
    "images-not-known-broken",
    *(
        f"grafana: image my/traefik@sha256:0 names no version, so it may have CVE-2026-{number}; "
        "the internet reaches it in 2 hops, via traefik -> frontend -> grafana"
        for number in (137481, 114656, 88879)
    ),
    "traefik: image homelab-lab/traefik:3.7.15 has CVE-2026-137481 (sanitizePath leaves /..;x/, so a path "
    "can pass a router's rule), fixed in 3.7.18; the internet reaches it in 1 hop, "
    "via docker-srv:80/tcp -> traefik",
    "promtail: image homelab-lab/promtail:3.6.3 has its end of life on 2026-03-02: gets no fixes any more; "
    "the internet does not reach it",
)
def images_of_the_lab_on_a_real_site(stack: Stack) -> None:
    stack.config["domain"] = "home.example"
    container(stack, "grafana", image="my/traefik@sha256:0")


@rejected("images-pinned", "grafana: image registry:5000/grafana names no version")
def an_image_without_a_tag(stack: Stack) -> None:
    container(stack, "grafana", image="registry:5000/grafana")


@rejected("containers-as-rendered", "traefik: sysctls[net.ipv4.ip_forward]: expected `0`")
def a_leg_as_a_router(stack: Stack) -> None:
    container(stack, "traefik", sysctls=None)


@rejected(
    "names-are-the-engines",
    "prometheus: answers to loki on query, which is another service's name",
    "prometheus: resolves loki in its own way",
    "prometheus: asks a name server of its own",
    "prometheus: changes the kernel's net.ipv4.ip_forward",
)
def names_taken_from_others(stack: Stack) -> None:
    stack.inputs("container", "prometheus")["networksAdvanced"][0]["aliases"] = ["loki"]
    container(
        stack,
        "prometheus",
        hosts=[{"host": "loki", "ip": "172.30.2.9"}],
        dns=["192.0.2.53"],
        sysctls={"net.ipv4.ip_forward": "1"},
    )


@rejected(
    "names-are-the-engines",
    "prometheus-ui: answers to GRAFANA on frontend, which is another service's name",
    "prometheus-ui: answers to grafana. on frontend, which is another service's name",
    "prometheus-ui: answers to acme.example on frontend, which is not its own name",
    "prometheus-ui: answers to Loki on every network, which is another service's name",
    "prometheus-ui: domainname makes its names lead elsewhere",
    "prometheus-ui: dnsSearches makes its names lead elsewhere",
    "prometheus-ui: dnsOpts makes its names lead elsewhere",
    "prometheus-ui: changes the kernel's net/ipv4/ip_forward",
    "prometheus-ui: changes the kernel's net/ipv4.conf/all.route_localnet",
    "prometheus-ui: has undeclared addresses or options on frontend",
)
def names_and_settings_in_other_spellings(stack: Stack) -> None:
    aliases = ["GRAFANA", "grafana.", "acme.example", "Prometheus-UI"]
    leg = stack.inputs("container", "prometheus-ui")["networksAdvanced"][0]
    leg |= {"aliases": aliases, "macAddress": "02:42:ac:1e:01:02"}
    sysctls = {"net/ipv4/ip_forward": "1", "net/ipv4.conf/all.route_localnet": "1", "kernel.shmmax": "1"}
    container(
        stack,
        "prometheus-ui",
        hostname="Loki",
        domainname="evil.example",
        dnsSearches=["evil.example"],
        dnsOpts=["ndots:9"],
        sysctls=sysctls,
    )


@rejected(
    "names-are-the-engines",
    "loki: /etc/hosts is replaced, so its names may lead elsewhere",
    "loki: /etc/nsswitch.conf is replaced, so its names may lead elsewhere",
    "promtail: /etc/resolv.conf is replaced, so its names may lead elsewhere",
)
def files_that_say_where_names_lead(stack: Stack) -> None:
    files = [{"file": f"/etc/{name}", "content": "x"} for name in ("hosts", "nsswitch.conf", "wiki.conf")]
    stack.inputs("container", "loki")["uploads"] += files
    mount = {"type": "bind", "source": "/srv/x", "target": "//etc/./resolv.conf", "readOnly": True}
    container(stack, "promtail", mounts=[mount])


@rejected("names-are-the-engines", "loki-gateway: has undeclared addresses or options on query")
def an_address_of_another_family(stack: Stack) -> None:
    stack.inputs("container", "loki-gateway")["networksAdvanced"][0]["ipv6Address"] = "fd00::5"


@rejected(
    "names-are-the-engines",
    "loki-gateway: has undeclared addresses or options on query",
    "loki: has undeclared addresses or options on backend",
    "promtail: has undeclared addresses or options on backend",
)
def undeclared_options_of_a_network(stack: Stack) -> None:
    stack.inputs("container", "loki-gateway")["networksAdvanced"][0]["linkLocalIps"] = ["169.254.0.9"]
    stack.inputs("container", "loki")["networksAdvanced"][0]["driverOpts"] = ["x=y"]
    stack.inputs("container", "promtail")["networksAdvanced"][0]["gwPriority"] = 1.0


@rejected("logs-stay-local", "loki: logDriver syslog sends logs past the declared flows")
def logs_sent_away(stack: Stack) -> None:
    container(stack, "loki", logDriver="syslog")


# -------------------------------------------------------------------------------------------- uploads


def more(stack: Stack, name: str, *uploads: dict[str, Any], **inputs: Any) -> None:
    """Add uploads to a container, and change its other properties."""
    stack.inputs("container", name)["uploads"] += uploads
    container(stack, name, **inputs)


def beside(stack: Stack, *uploads: dict[str, Any], **inputs: Any) -> None:
    """Add a service that the project does not configure, with uploads of its own."""
    stack.config["services"]["wiki"] = {"zones": ["frontend"], "image": "wiki:1"}
    resource = copy.deepcopy(stack.inputs("container", "grafana"))
    own = {"name": "wiki", "image": "wiki:1", "networksAdvanced": [{"name": "frontend"}]}
    own |= {"volumes": [], "envs": [], "uploads": [*uploads]}
    stack.add("container", "wiki", resource | own | inputs)


def text(file: str, content: str = "x", **more: Any) -> dict[str, Any]:
    """Return an upload."""
    return {"file": file, "content": content, **more}


@rejected(
    "uploads-are-configuration",
    "grafana: /usr/bin/socat is an uploaded program",
    "grafana: /run.sh is an uploaded program",
    "grafana: /etc/grafana/extra.ini can't be read from the resource",
)
def programs_in_uploads(stack: Stack) -> None:
    more(
        stack,
        "grafana",
        text("/usr/bin/socat"),
        text("/run.sh", "#!/bin/sh", executable=True),
        {"file": "/etc/grafana/extra.ini", "source": "extra.ini"},
    )


@rejected(
    "uploads-are-configuration",
    "traefik: /etc/traefik/dynamic/a.yml can't be read from the resource",
    "traefik: /etc/traefik/dynamic/b.yml can't be read from the resource",
    "traefik: /etc/traefik/dynamic/c.yml can't be read from the resource",
    "traefik: /etc/traefik/dynamic/d.yml can't be read from the resource",
)
def content_that_only_the_provider_reads(stack: Stack) -> None:
    folder = "/etc/traefik/dynamic"
    more(
        stack,
        "traefik",
        text(f"{folder}/a.yml", "", contentBase64="aHR0cDoK"),
        text(f"{folder}/b.yml", "", source="./b.yml"),
        {"file": f"{folder}/c.yml", "contentBase64": "aHR0cDoK"},
        {"file": f"{folder}/d.yml"},
    )


@rejected(
    "uploads-are-configuration",
    "wiki: uploads[0].file is not an absolute path without detours, so what it replaces can't be known",
    "wiki: etc/traefik/a.yml is not an absolute path without detours, so what it replaces can't be known",
    "wiki: /etc/./traefik/b.yml is not an absolute path without detours, so what it replaces can't be known",
    "wiki: /etc//c.yml is not an absolute path without detours, so what it replaces can't be known",
    "wiki: /x/../etc/d.yml is not an absolute path without detours, so what it replaces can't be known",
    "wiki: /etc/e/ is not an absolute path without detours, so what it replaces can't be known",
    "wiki: uploads[6].file is not an absolute path without detours, so what it replaces can't be known",
)
def paths_with_detours(stack: Stack) -> None:
    paths = (
        "/etc/a\n",
        "etc/traefik/a.yml",
        "/etc/./traefik/b.yml",
        "/etc//c.yml",
        "/x/../etc/d.yml",
        "/etc/e/",
        "",
    )
    beside(stack, *map(text, paths))


@rejected(
    "uploads-are-configuration",
    "traefik: /etc/traefik/traefik.yml is uploaded twice, and which one remains is chance",
    "wiki: etc/a is not an absolute path without detours, so what it replaces can't be known",
    "wiki: etc/a is uploaded twice, and which one remains is chance",
)
def one_path_uploaded_twice(stack: Stack) -> None:
    given = upload(stack, "traefik", STATIC)
    uploads = stack.inputs("container", "traefik")["uploads"]
    uploads.insert(0, given | {"content": "api: {insecure: true}"})
    beside(stack, text("/etc/a"), text("etc/a"))


@rejected(
    "uploads-are-configuration",
    "wiki: /etc/0755 is an uploaded program",
    "wiki: /etc/0711 is an uploaded program",
    "wiki: /etc/755 is an uploaded program",
    "wiki: /etc/4644 is an uploaded program",
    "wiki: /etc/1644 is an uploaded program",
    "wiki: /etc/0o755 is an uploaded program",
    "wiki: /etc/u+x is an uploaded program",
    "wiki: /etc/0010 is an uploaded program",
    "wiki: /etc/x is an uploaded program",
)
def programs_by_permissions(stack: Stack) -> None:
    modes = ("0755", "0711", "755", "0644", "0600", "4644", "1644", "0o755", "u+x", "0010", "0640")
    beside(stack, *(text(f"/etc/{mode}", permissions=mode) for mode in modes), text("/etc/x", "#! /bin/sh"))


@rejected(
    "uploads-are-configuration",
    "wiki: command runs /etc/run, which is uploaded",
    "wiki: healthcheck.tests runs /etc/run, which is uploaded",
    "wiki: envs.BASH_ENV runs /etc/run, which is uploaded",
    "wiki: envs.NODE_OPTIONS runs /etc/run, which is uploaded",
    "wiki: envs.PYTHONPATH runs /etc/run, which is uploaded",
)
def programs_that_something_else_runs(stack: Stack) -> None:
    beside(
        stack,
        text("/etc/run"),
        entrypoints=["/sbin/tini", "--"],
        command=["/bin/sh", "-c", "exec wiki --config /etc/run"],
        healthcheck={"tests": ["CMD-SHELL", ". /etc/run"]},
        envs=[
            "BASH_ENV=/etc/run",
            "NODE_OPTIONS=--require=/etc/run",
            "PYTHONPATH=/etc",
            "WIKI_CONFIG=/etc/run",
        ],
    )


PROGRAMS = (
    *("/bin/x", "/sbin/x", "/lib/x", "/lib64/x", "/usr/x", "/opt/x", "/etc/ld.so.preload"),
    *("/etc/ld.so.conf.d/x", "/etc/cron.d/x", "/etc/crontab", "/etc/crontabs/x", "/var/spool/cron/x"),
    *("/etc/init.d/x", "/etc/profile.d/x", "/docker-entrypoint.d/x", "/etc/cont-init.d/x"),
    *("/etc/services.d/x", "/etc/s6-overlay/x"),
)
LOADERS = (
    *("BASH_ENV", "ENV", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "JAVA_TOOL_OPTIONS"),
    *("JDK_JAVA_OPTIONS", "NODE_OPTIONS", "NODE_PATH", "PERL5LIB", "PERL5OPT", "PYTHONPATH"),
    *("PYTHONSTARTUP", "RUBYLIB", "RUBYOPT"),
)


@rejected(
    "uploads-are-configuration",
    *(f"wiki: {path} is an uploaded program" for path in (*PROGRAMS, "/srv/x")),
)
def programs_by_place_and_by_beginning(stack: Stack) -> None:
    beside(stack, *map(text, PROGRAMS), text("/srv/x", "\x7fELF"))


@rejected(
    "uploads-are-configuration",
    *(f"wiki: envs.{name} runs /etc/run, which is uploaded" for name in LOADERS),
)
def variables_that_name_an_upload_to_run(stack: Stack) -> None:
    beside(stack, text("/etc/run"), envs=[f"{name}=/etc/run" for name in LOADERS])


@rejected(
    "programs-are-the-images",
    "grafana: /usr/share/grafana/bin is mounted over, where the image has its programs",
    "grafana: /usr/lib/grafana/data is mounted over, where the image has its programs",
    "wiki: /usr/bin is mounted over, where the image has its programs",
    "wiki: /lib/x86_64-linux-gnu is mounted over, where the image has its programs",
    "wiki: /usr/local is mounted over, where the image has its programs",
    "wiki: /etc/cron.d is mounted over, where the image has its programs",
)
def volumes_with_programs(stack: Stack) -> None:
    with_words(stack)
    volume = {"volumeName": "wiki-db-db", "readOnly": True}
    others = [
        {**volume, "containerPath": f"/usr/{path}"} for path in ("share/grafana/bin", "lib/grafana/data")
    ]
    stack.inputs("container", "grafana")["volumes"] += others
    volumes = [
        {**volume, "containerPath": path} for path in ("//usr/./bin", "/lib/x86_64-linux-gnu", "/usr/share")
    ]
    scratch = {"/usr/local": "rw,noexec,nosuid,nodev,size=1m,mode=755"}
    mounts = [{"type": "tmpfs", "target": "etc/cron.d"}]
    container(stack, "wiki", volumes=volumes, tmpfs=scratch, mounts=mounts)


@rejected("uploads-are-configuration", "wiki: command runs /etc/run, which is uploaded")
def an_interpreter_of_an_upload(stack: Stack) -> None:
    beside(
        stack,
        text("/etc/run"),
        command=["python3.12", "-I", "/etc/run"],
        healthcheck={"tests": ["CMD", "node", "/srv/health.js", "--config", "/etc/run"]},
    )


@rejected("uploads-are-configuration", "wiki: command runs /etc/run, which is uploaded")
def a_line_for_the_images_shell(stack: Stack) -> None:
    beside(stack, text("/etc/run"), command=["-c", "set -e; . /etc/run"])


@rejected(
    "uploads-are-configuration",
    "wiki: /etc/x is an uploaded program",
    "wiki: healthcheck.tests runs /etc/run, which is uploaded",
)
def a_program_by_its_flag_and_a_health_check_by_the_shell(stack: Stack) -> None:
    uploads = text("/etc/x", executable=True), text("/etc/run")
    beside(stack, *uploads, healthcheck={"tests": ["CMD-SHELL", "/etc/run"]})


@rejected(
    "uploads-are-configuration",
    "wiki: /etc/a/a.yml is where /etc/a is mounted, so what is read there can't be known",
    "wiki: /etc/b/b.yml is where /etc/b is mounted, so what is read there can't be known",
    "wiki: /etc/c/c.yml is where /etc/c is mounted, so what is read there can't be known",
    "wiki: /etc/d.yml is where /etc/d.yml is mounted, so what is read there can't be known",
)
def mounts_over_uploads(stack: Stack) -> None:
    beside(
        stack,
        *map(text, ("/etc/a/a.yml", "/etc/b/b.yml", "/etc/c/c.yml", "/etc/d.yml", "/etc/dd.yml")),
        volumes=[
            {"containerPath": "/etc/a", "hostPath": "/srv/a", "readOnly": True},
            {"containerPath": "/etc/d.yml/", "hostPath": "/srv/d.yml", "readOnly": True},
        ],
        mounts=[{"type": "tmpfs", "target": "/etc/x/../b"}],
        tmpfs={"/etc/c": "rw,noexec,nosuid,nodev,size=1m,mode=1777"},
    )


@rejected(
    "arguments-name-uploads",
    "node-exporter: command[0] names a file that is not uploaded, so what it says can't be known",
    "node-exporter: command[1] names a file that is not uploaded, so what it says can't be known",
    "loki: command[0] names a file that is not uploaded, so what it says can't be known",
    "prometheus: command[0] reads further arguments from a file",
    "wiki: command[0] names /etc/wiki.conf, which is read as YAML in spite of its suffix",
    "wiki: command[2] names a file that is not uploaded, so what it says can't be known",
    "wiki: command[4] names a file that is not uploaded, so what it says can't be known",
)
def arguments_that_point_elsewhere(stack: Stack) -> None:
    container(stack, "loki", command=["-config.file=/loki/other.yml"])
    container(stack, "prometheus", command=["@/etc/prometheus/args"])
    more(stack, "node-exporter", command=["--web.config.file", "/host/metrics/web.yml"])
    beside(
        stack,
        text("/etc/wiki.conf"),
        command=["--config.file", "/etc/wiki.conf", "--configFile=/x", "--config=/etc/wiki.conf", "--config"],
    )


@rejected(
    "targets-declared",
    "wiki: /etc/a.yml: line 2 is not understood, so where it sends can't be known",
    "wiki: /etc/b.YAML: line 2 is not understood, so where it sends can't be known",
    "wiki: /etc/c.yml: line 1 is not understood, so where it sends can't be known",
    "wiki: /etc/d.yml: has a value that is not understood, so where it sends can't be known",
    "wiki: /etc/e.alloy: its end is not understood, so where it sends can't be known",
)
def files_that_another_parser_reads(stack: Stack) -> None:
    beside(
        stack,
        text("/etc/a.yml", "clients: []\n---\n"),
        text("/etc/b.YAML", "a: 1\nb: !x y\n"),
        text("/etc/c.yml", "separator: =\n"),
        text("/etc/d.yml", "day: 2024-02-30\n"),
        text("/etc/e.alloy", "logging {"),
    )


@rejected(
    "targets-declared",
    "wiki: /etc/wiki/prometheus.yml: tracing.endpoint names x.example, which is no declared service",
    "wiki: /etc/wiki/loki.yml: ruler.alertmanager_url names grafana:3000/tcp, which is no "
    "declared flow of wiki",
    "wiki: command[0]: -client.url names x.example, which is no declared service",
    "wiki: command[2]: --push-url names x, which is no declared service",
    "wiki: /etc/wiki/prometheus.yml: dns_sd_configs finds undeclared targets",
    "wiki: /etc/wiki/prometheus.yml: scrape_config_files finds undeclared targets",
)
def peers_at_any_place(stack: Stack) -> None:
    alerting = {"alertmanagers": [{"dns_sd_configs": [{"names": ["x.example"]}]}]}
    prometheus = {"alerting": alerting, "scrape_config_files": ["/prometheus/*.yml"]}
    found = {"tracing": {"endpoint": "x.example:4317"}, "labels": {"url": "https://grafana:3000"}}
    loki = {"ruler": {"alertmanager_url": "http://grafana:3000", "external_url": "https://x.example"}}
    beside(
        stack,
        text("/etc/wiki/prometheus.yml", yaml.safe_dump(prometheus | found)),
        text("/etc/wiki/loki.yml", yaml.safe_dump(loki)),
        command=[
            "-client.url=https://x.example/push",
            "--web.external-url=https://x.example",
            "--push-url",
            "x:1",
        ],
    )


# ------------------------------------------------------------------------------------------- networks


@rejected("networks-are-zones", "vlan99: network vlan99 is no declared zone, and no flow needs a leg there")
def a_leg_on_vlan_99(stack: Stack) -> None:
    inputs = copy.deepcopy(stack.inputs("network", "vlan10"))
    stack.add("network", "vlan99", inputs | {"name": "vlan99", "options": {"parent": "trunk.99"}})
    leg(stack, "traefik", "vlan99")


@rejected(
    "networks-sealed",
    *(
        f"{name}: internal is off, though zone {name} has no way out"
        for name in ("frontend", "query", "backend")
    ),
)
def no_docker_network_internal(stack: Stack) -> None:
    for name in ("edge", "frontend", "query", "backend"):
        stack.inputs("network", name)["internal"] = False


@rejected(
    "networks-sealed",
    "backend: its gateway answers for the host: inhibit_ipv4 is not true",
    "backend: gateway_mode_ipv4 is not isolated, the strictest that the engine has",
)
def an_internal_network_whose_gateway_answers(stack: Stack) -> None:
    options = stack.inputs("network", "backend")["options"]
    del options["com.docker.network.bridge.inhibit_ipv4"]
    del options["com.docker.network.bridge.gateway_mode_ipv4"]


@rejected(
    "networks-sealed",
    "backend: attachable is set, which opens it to undeclared peers",
    "backend: ipv6 is set, which opens it to undeclared peers",
    "backend: its subnet is not the declared 172.30.3.0/24",
    "backend: its gateway is not the zone's 172.30.3.1",
)
def a_network_that_others_may_join(stack: Stack) -> None:
    ipam = [{"subnet": "172.30.3.0/25"}]
    stack.inputs("network", "backend").update(attachable=True, ipv6=True, ipamConfigs=ipam)


@rejected(
    "networks-sealed", "frontend: auxAddress is set, which can make another address its members' gateway"
)
def a_network_whose_gateway_is_a_member(stack: Stack) -> None:
    stack.inputs("network", "frontend")["ipamConfigs"][0]["auxAddress"] = {
        "DefaultGatewayIPv4": "172.30.1.99"
    }


@rejected("networks-sealed", "vlan30: parent trunk.20 is not trunk.30, so it leads to another VLAN")
def a_leg_whose_parent_is_another_vlan(stack: Stack) -> None:
    stack.inputs("network", "vlan30")["options"]["parent"] = "trunk.20"


@rejected("networks-sealed", "vlan30: driver bridge is not macvlan, so it is no leg on VLAN 30")
def a_leg_that_is_no_macvlan(stack: Stack) -> None:
    stack.inputs("network", "vlan30")["driver"] = "bridge"


@rejected(
    "networks-sealed",
    "edge: enable_icc is not false, so its other members reach every port of the ingress",
    "edge: enable_ip_masquerade is not false, so the ingress leaves behind the host's address",
    "edge: option com.docker.network.bridge.trusted_host_interfaces is not understood with this value",
)
def an_edge_without_walls(stack: Stack) -> None:
    options = stack.inputs("network", "edge")["options"]
    del options["com.docker.network.bridge.enable_icc"]
    options["com.docker.network.bridge.enable_ip_masquerade"] = "true"
    options["com.docker.network.bridge.trusted_host_interfaces"] = "eth0"


@rejected(
    "networks-sealed",
    "probe: enable_ip_masquerade is not false, so what watches leaves behind the host's address",
    "probe: option com.docker.network.bridge.enable_icc is not understood with this value",
    "probe: option com.docker.network.bridge.enable_ip_masquerade is not understood with this value",
)
def a_probe_zone_with_a_way_out(stack: Stack) -> None:
    options = stack.inputs("network", "probe")["options"]
    options["com.docker.network.bridge.enable_ip_masquerade"] = "true"
    options["com.docker.network.bridge.enable_icc"] = "false"


_MODE = "com.docker.network.bridge.gateway_mode_ipv4"


@rejected(
    "networks-sealed",
    "probe: gateway_mode_ipv4 is not nat-unprotected, so from engine 28 on it gets no reply",
    f"probe: option {_MODE} is not understood with this value",
)
def a_probe_zone_that_gets_no_reply(stack: Stack) -> None:
    stack.inputs("network", "probe")["options"][_MODE] = "nat"


@rejected(
    "networks-sealed", "vlan20: macvlan_mode is not private, so its members reach each other past every rule"
)
def two_legs_that_meet(stack: Stack) -> None:
    with_legs(stack)
    del stack.inputs("network", "vlan20")["options"]["macvlan_mode"]


@rejected(
    "networks-sealed", "vlan10: macvlan_mode is not private, so its members reach each other past every rule"
)
def a_leg_that_meets_what_is_attached_beside_it(stack: Stack) -> None:
    stack.inputs("network", "vlan10")["options"]["macvlan_mode"] = "bridge"


@rejected(
    "legs-listen-nowhere",
    "prometheus: listens on every address, not on 172.30.2.156:9090 alone, "
    "and it has a leg on wordpress, apps",
)
def a_prometheus_that_listens_on_its_leg(stack: Stack) -> None:
    with_legs(stack)
    command = stack.inputs("container", "prometheus")["command"]
    command[:] = [word for word in command if "listen-address" not in word]


@rejected("networks-sealed", f"edge: option {_MODE} is not understood with this value")
def an_edge_without_dockers_drops(stack: Stack) -> None:
    stack.inputs("network", "edge")["options"][_MODE] = "nat-unprotected"


@rejected(
    "networks-sealed",
    "backend: gateway_mode_ipv4 is not isolated, the strictest that the engine has",
    f"backend: option {_MODE} is not understood with this value",
)
def a_backend_without_dockers_drops(stack: Stack) -> None:
    stack.inputs("network", "backend")["options"][_MODE] = "nat-unprotected"


@rejected(
    "networks-sealed",
    "probe: option com.docker.network.bridge.trusted_host_interfaces is not understood with this value",
)
def a_probe_zone_that_trusts_the_lan(stack: Stack) -> None:
    options = stack.inputs("network", "probe")["options"]
    options["com.docker.network.bridge.trusted_host_interfaces"] = "eth0"


@rejected("networks-sealed", "probe: internal is on, though zone probe meets published ports")
def a_probe_zone_that_sees_nothing(stack: Stack) -> None:
    stack.inputs("network", "probe")["internal"] = True


@rejected(
    "probes-are-strangers",
    "grafana: joins probe, from where Docker-SRV is watched",
    "blackbox-exporter: joins backend, which is no probe zone",
)
def a_ui_that_watches_and_an_exporter_within(stack: Stack) -> None:
    leg(stack, "grafana", "probe")
    leg(stack, "blackbox-exporter", "backend")


@rejected("containers-have-a-role", "shell: container shell is no declared service")
def a_service_without_a_role(stack: Stack) -> None:
    stack.add("container", "shell", {"name": "shell", "image": "busybox:1"})


@rejected("containers-on-their-zones", "loki: joins frontend, which is no network of its zones")
def loki_on_the_ingresss_network(stack: Stack) -> None:
    leg(stack, "loki", "frontend")


@rejected("containers-on-their-zones", "prometheus: joins frontend, which is no network of its zones")
def the_whole_prometheus_on_the_ingresss_network(stack: Stack) -> None:
    leg(stack, "prometheus", "frontend")


@rejected(
    "containers-on-their-zones",
    "traefik: does not join vlan10, though it is in zone wordpress",
)
def an_ingress_without_a_leg(stack: Stack) -> None:
    legs = stack.inputs("container", "traefik")["networksAdvanced"]
    legs[:] = [each for each in legs if each["name"] != "vlan10"]


@rejected(
    "containers-on-their-zones",
    "traefik: its address on vlan30 is not the declared 10.10.30.2, which guests' rules name",
)
def an_ingress_with_another_address(stack: Stack) -> None:
    (vault,) = (x for x in stack.inputs("container", "traefik")["networksAdvanced"] if x["name"] == "vlan30")
    vault["ipv4Address"] = "10.10.30.3"


@rejected(
    "containers-on-their-zones",
    "loki: its address on backend is not the declared 172.30.3.207, which the host's rules name",
)
def a_container_whose_address_the_engine_chooses(stack: Stack) -> None:
    del stack.inputs("container", "loki")["networksAdvanced"][0]["ipv4Address"]


@rejected(
    "containers-on-their-zones",
    "loki: its address on backend is not the declared 172.30.3.207, which the host's rules name",
)
def a_container_at_an_address_of_another_network(stack: Stack) -> None:
    stack.inputs("container", "loki")["networksAdvanced"][0]["ipv4Address"] = "172.30.1.207"


@rejected("joined-networks-exist", "loki: joins network hidden, which is not in the stack")
def a_network_that_the_pack_cannot_see(stack: Stack) -> None:
    leg(stack, "loki", "hidden")


@rejected(
    "host-rules-installed",
    "docker-srv: its own rules are not in the stack",
)
def no_rules_on_the_host(stack: Stack) -> None:
    stack.remove("command", "host-rules")


@rejected(
    "host-rules-installed",
    "docker-srv: what lets a probe zone see published ports is not in the stack",
    "docker-srv: the timer of the live probe is not in the stack",
)
def no_commands_for_who_watches(stack: Stack) -> None:
    stack.config["hosts"]["docker-srv"]["verify-every"] = "1h"
    stack.remove("command", "probe-rules")


@rejected(
    "host-rules-installed",
    "docker-srv: the switch that shows its rules frames within a bridge is not in the stack",
)
def rules_that_see_no_frames_within_a_bridge(stack: Stack) -> None:
    open_bridges(stack)


@rejected(
    "host-rules-installed",
    "docker-srv: the rules of its legs are not in the stack, so a VLAN reaches all that they lead to",
)
def legs_without_rules(stack: Stack) -> None:
    stack.remove("command", "leg-rules")


@rejected(
    "commands-are-our-own",
    "leg-rules: command:local:Command runs a command that can't be judged: "
    "its stdin is not that of the project's leg rules",
)
def legs_with_one_flow_more(stack: Stack) -> None:
    command = stack.inputs("command", "leg-rules")
    asked = "      10.10.10.11 . 10.10.10.2 . tcp . 443,\n"
    assert asked in command["stdin"]
    command["stdin"] = command["stdin"].replace(asked, f"{asked}{asked.replace('443', '22')}")


@rejected("zones-enforced", "zone backend: its members reach each other on every port through 2027-01-15")
def a_zone_that_is_only_observed(stack: Stack) -> None:
    stack.config["zones"]["backend"]["observed-until"] = "2027-01-15"


@rejected("guests-enforced", "jellyfin: its firewall lets everything in and out through 2027-01-15")
def a_guest_that_is_only_observed(stack: Stack) -> None:
    stack.config["services"]["jellyfin"]["observed-until"] = "2027-01-15"
    stack.inputs("rules", "jellyfin")["rules"] += [
        {"type": way, "action": "ACCEPT", "log": "info"} for way in ("in", "out")
    ]


def host_rules(stack: Stack, old: str, new: str) -> None:
    """Change the text of the host's own rules."""
    command = stack.inputs("command", "host-rules")
    assert old in command["stdin"]
    command["stdin"] = command["stdin"].replace(old, new)


@rejected(
    "commands-are-our-own",
    "host-rules: command:local:Command runs a command that can't be judged: "
    "its stdin is not that of the project's host rules",
)
def host_rules_with_one_pair_more(stack: Stack) -> None:
    pair = "      172.30.3.58 . 172.30.3.217 . tcp . 3100,\n"
    host_rules(stack, pair, f"{pair}      172.30.3.58 . 172.30.3.207 . tcp . 3100,\n")


@rejected(
    "commands-are-our-own",
    "host-rules: command:local:Command runs a command that can't be judged: "
    "its stdin is not that of the project's host rules",
)
def host_rules_without_a_drop_within_bridges(stack: Stack) -> None:
    host_rules(stack, "    counter drop\n", "")


@rejected(
    "commands-are-our-own",
    "host-rules: command:local:Command runs a command that can't be judged: "
    "its stdin is not that of the project's host rules",
)
def host_rules_that_accept_before_they_look(stack: Stack) -> None:
    host_rules(stack, '    iifname "br-backend" oifname', '    accept\n    iifname "br-backend" oifname')


@rejected(
    "commands-are-our-own",
    "bridge-switch: command:local:Command runs a command that can't be judged: "
    "its create is not that of the project's bridge switch",
)
def a_switch_for_one_family_alone(stack: Stack) -> None:
    command = stack.inputs("command", "bridge-switch")
    command["create"] = command["create"].replace(" /proc/sys/net/bridge/bridge-nf-call-ip6tables", "")


@rejected("host-rules-installed", "docker-srv: what brings its own rules back at boot is not in the stack")
def no_rules_at_boot(stack: Stack) -> None:
    stack.remove("command", "boot-rules")


@rejected(
    "commands-are-our-own",
    "boot-rules: command:local:Command runs a command that can't be judged: "
    "its stdin is not that of the project's boot rules",
)
def rules_at_boot_that_are_others(stack: Stack) -> None:
    inputs = stack.inputs("command", "boot-rules")
    inputs["stdin"] = inputs["stdin"].replace("drop", "accept")


@rejected(
    "host-rules-installed",
    "edge: its bridge is not named br-edge, so the host's rules miss it",
)
def a_bridge_of_another_name(stack: Stack) -> None:
    stack.inputs("network", "edge")["options"]["com.docker.network.bridge.name"] = "br-other"


@rejected("no-empty-zones", "spare: no container joins network spare")
def a_network_that_nobody_joins(stack: Stack) -> None:
    stack.add("network", "spare", copy.deepcopy(stack.inputs("network", "backend")) | {"name": "spare"})


@rejected("no-empty-zones", "zone backend: network backend is not in the stack")
def a_zone_without_its_network(stack: Stack) -> None:
    stack.remove("network", "backend")


@rejected("no-empty-zones", "zone vault: no guest is on VLAN 30")
def a_zone_without_its_guest(stack: Stack) -> None:
    stack.remove("vm", "vaultwarden")


@rejected(
    "declared-services-exist",
    "loki: container loki is not in the stack",
    "jellyfin: guest jellyfin is not in the stack",
    "site-1: is switched off, so no flow to it works",
)
def services_that_are_declared_and_absent(stack: Stack) -> None:
    stack.inputs("vm", "site-1")["started"] = False
    stack.remove("container", "loki")
    stack.remove("vm", "jellyfin")


# --------------------------------------------------------------------------------------------- guests


@rejected("guests-have-a-role", "shadow: guest shadow is no declared service")
def a_guest_without_a_role(stack: Stack) -> None:
    stack.add("vm", "shadow", {"name": "shadow", "vmId": 999.0, "nodeName": "pve1"})


@rejected("guests-have-a-role", "site-1: its id is not the declared 101, by which the firewall knows it")
def a_guest_with_another_id(stack: Stack) -> None:
    stack.inputs("vm", "site-1")["vmId"] = 111.0


def _card(stack: Stack, name: str) -> dict[str, Any]:
    card = stack.inputs("vm", name)["networkDevices"][0]
    assert isinstance(card, dict)
    return card


@rejected("guests-on-their-vlan", "site-1: net0: vlanId is not set, so it sees every VLAN of vmbr1")
def a_vlan_that_never_reaches_the_card(stack: Stack) -> None:
    del _card(stack, "site-1")["vlanId"]


@rejected("guests-on-their-vlan", "vaultwarden: net0: VLAN 20 is not that of its zone vault")
def vaultwarden_on_vlan_20(stack: Stack) -> None:
    _card(stack, "vaultwarden")["vlanId"] = 20.0


@rejected(
    "guests-on-their-vlan",
    "jellyfin: net0: trunks 10;30 puts it on every VLAN of the trunk",
    "jellyfin: net0: bridge vmbr0 is not the declared vmbr1",
)
def a_guest_on_a_trunk(stack: Stack) -> None:
    _card(stack, "jellyfin").update(trunks="10;30", bridge="vmbr0")


@rejected("guests-on-their-vlan", "site-2: has 2 connected network cards instead of one")
def a_second_card(stack: Stack) -> None:
    cards = stack.inputs("vm", "site-2")["networkDevices"]
    cards.append(copy.deepcopy(cards[0]))


@rejected("guests-on-their-vlan", "site-2: is on node pve2, not on the declared pve1")
def a_guest_on_another_node(stack: Stack) -> None:
    stack.inputs("vm", "site-2")["nodeName"] = "pve2"


@rejected(
    "guests-keep-their-address",
    "site-1: its address is not the declared 10.10.10.11",
    "site-1: its gateway is not its zone's 10.10.10.1",
    "site-1: has IPv6, which no rule of this site filters",
    "site-2: initialization.dns names a name server that is not declared at the Proxmox host",
    "site-2: initialization.dns.domain makes its names lead elsewhere",
    "jellyfin: it has a gateway, 10.10.20.1, and no flow leads beyond its network",
    "stirling-pdf: its address is one of 10.10.0.0/16, not of its zone's 10.10.20.0/24",
    "vaultwarden: its address is one of 10.10.30.11/32, not of its zone's 10.10.30.0/24",
)
def a_guest_with_another_address(stack: Stack) -> None:
    for name, changed in (
        ("jellyfin", {"gateway": "10.10.20.1"}),
        ("stirling-pdf", {"address": "10.10.20.12/16"}),
        ("vaultwarden", {"address": "10.10.30.11"}),
    ):
        stack.inputs("vm", name)["initialization"]["ipConfigs"][0]["ipv4"] |= changed
    dns = {"servers": ["192.0.2.1"], "domain": "example.net"}
    stack.inputs("vm", "site-2")["initialization"]["dns"] = dns
    ip = {"address": "10.10.10.12/24", "gateway": "10.10.10.9"}
    stack.inputs("vm", "site-1")["initialization"]["ipConfigs"] = [{"ipv4": ip, "ipv6": {"address": "auto"}}]


def _with_egress(stack: Stack, until: str = "2027-01-31") -> None:
    """Declare egress for site-1 with an end date, and build the stack again."""
    egress = {"flow": "site-1 -> internet:443/tcp", "until": until, "reason": "updates of Debian"}
    stack.config["flows"].append(egress)
    stack.resources = run(stack.config)


@rejected(
    "accept-rules-declared",
    "site-1: rules[1] accepts what no declared flow of site-1 needs "
    "(out ACCEPT dest +dc/internet proto tcp dport 443)",
)
def an_internet_with_the_site_in_it(stack: Stack) -> None:
    _with_egress(stack)
    stack.inputs("ipset", "internet")["cidrs"].remove({"name": "10.0.0.0/8", "nomatch": True})


@rejected(
    "accept-rules-declared",
    "site-1: rules[1] accepts what no declared flow of site-1 needs "
    "(out ACCEPT dest +dc/internet proto tcp dport 443)",
)
def an_internet_whose_exclusions_do_not_count(stack: Stack) -> None:
    _with_egress(stack)
    stack.inputs("ipset", "internet")["cidrs"].append({"name": "10.10.20.0/24"})


@rejected(
    "unreachable-flows",
    "site-1 -> internet:443/tcp: expected ALLOWED, got DENIED: "
    "no way: site-1 is on vlan10; internet is on internet",
)
def egress_without_a_router(stack: Stack) -> None:
    _with_egress(stack)
    del stack.inputs("vm", "site-1")["initialization"]["ipConfigs"][0]["ipv4"]["gateway"]


@rejected("flows-current", "site-1 -> internet:443/tcp: ended on 2026-11-22")
def egress_whose_day_has_passed(stack: Stack) -> None:
    _with_egress(stack, "2026-11-22")


def _with_existing_bridge(stack: Stack) -> None:
    """Declare that the node already has the bridge, and remove the bridge from the stack."""
    stack.config["hosts"]["proxmox-srv"]["existing-bridge"] = True
    stack.remove("bridge", "vmbr1")


@rejected("bridges-exist", "site-1: is on bridge vmbr2, which is not in the stack")
def a_guest_beside_the_existing_bridge(stack: Stack) -> None:
    _with_existing_bridge(stack)
    stack.inputs("vm", "site-1")["networkDevices"][0]["bridge"] = "vmbr2"


@rejected(
    "bridge-carries-declared-vlans",
    "vmbr1: makes a bridge, where vmbr1 is declared to be there already",
)
def a_bridge_that_exists_and_is_made(stack: Stack) -> None:
    stack.config["hosts"]["proxmox-srv"]["existing-bridge"] = True


def _with_snippets(stack: Stack) -> None:
    """Declare cloud-init for site-1 without adding it to the machine yet."""
    stack.config["hosts"]["proxmox-srv"]["snippets"] = "local"
    stack.config["services"]["site-1"]["app"] = "wordpress"


@rejected(
    "guests-set-up-by-their-own",
    "site-1: userDataFileId is local:snippets/vaultwarden.yaml, not local:snippets/site-1.yaml",
    "site-2: userDataFileId is local:snippets/site-2.yaml, not left out",
)
def the_cloud_init_file_of_another(stack: Stack) -> None:
    _with_snippets(stack)
    stack.inputs("vm", "site-1")["initialization"]["userDataFileId"] = "local:snippets/vaultwarden.yaml"
    stack.inputs("vm", "site-2")["initialization"]["userDataFileId"] = "local:snippets/site-2.yaml"


@rejected(
    "guests-set-up-by-their-own",
    "site-1: userDataFileId is not set, not local:snippets/site-1.yaml",
)
def a_guest_that_would_not_set_itself_up(stack: Stack) -> None:
    _with_snippets(stack)


@rejected(
    "guests-set-up-by-their-own",
    "site-1: vendorDataFileId is local:snippets/v.yaml, not left out",
    "site-1: networkDataFileId is local:snippets/n.yaml, not left out",
)
def cloud_init_files_beside_the_declared(stack: Stack) -> None:
    stack.inputs("vm", "site-1")["initialization"] |= {
        "vendorDataFileId": "local:snippets/v.yaml",
        "networkDataFileId": "local:snippets/n.yaml",
    }


@rejected(
    "guests-have-no-back-door",
    "site-1: hookScriptFileId leads past its network cards",
    "site-1: kvmArguments leads past its network cards",
    "site-1: hostpcis leads past its network cards",
)
def ways_past_the_network_card(stack: Stack) -> None:
    doors = {
        "hookScriptFileId": "local:snippets/x",
        "kvmArguments": "-netdev user",
        "hostpcis": [{"id": "01"}],
    }
    stack.inputs("vm", "site-1").update(doors)


@rejected(
    "guests-set-up-by-their-own",
    "site-1: metaDataFileId is local:snippets/m.yaml, not left out",
    "site-1: smbios is set, where cloud-init looks for user data",
    "box: userDataFileId is local:snippets/u.yaml, not left out",
    "site-2: initialization.userAccount.password is set, by which undeclared users log in",
    "box: initialization.userAccount.keys[0] is none of the Proxmox host's authorized-keys",
    "box: initialization.entrypoint is set, so another program than the archive's starts",
    "box: console.type is shell, which asks for no login",
)
def user_data_by_other_ways(stack: Stack) -> None:
    stack.inputs("vm", "site-1")["initialization"]["metaDataFileId"] = "local:snippets/m.yaml"
    stack.inputs("vm", "site-1")["smbios"] = {"serial": "ds=nocloud;s=http://192.0.2.1/"}
    stack.inputs("vm", "site-2")["initialization"]["userAccount"] = {"password": CANARY}
    stack.mark_secret("vm", "site-2", "initialization", "userAccount", "password")
    login = {"username": "me", "keys": ["ssh-ed25519 AAAAother me"]}
    given = {"entrypoint": "/bin/sh", "userDataFileId": "local:snippets/u.yaml", "userAccount": login}
    stack.add(_CONTAINER, "box", {"initialization": given, "console": {"enabled": True, "type": "shell"}})


@rejected(
    "guests-have-no-back-door",
    "site-1: bootOrders leads past its network cards",
    "box: features.mounts leads past its network cards",
)
def a_guest_that_starts_from_the_network(stack: Stack) -> None:
    stack.inputs("vm", "site-1")["bootOrders"] = ["scsi0", "net0"]
    features = {"nesting": True, "mounts": ["nfs"]}
    stack.add(_CONTAINER, "box", {"unprivileged": True, "features": features})


_CONTAINER = "proxmoxve:index/containerLegacy:ContainerLegacy"


@rejected(
    "sharing-with-the-node-excepted",
    "jellyfin: devicePassthroughs[0] shares more than the kernel with the node (devices: "
    "/dev/dri/renderD128)",
    "jellyfin: mountPoints[0] shares more than the kernel with the node (volumes: /srv/films as"
    " /films, writable)",
)
def a_container_that_shares_without_an_exception(stack: Stack) -> None:
    stack.config["services"]["jellyfin"] |= {
        "kind": "lxc",
        "ostemplate": "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
        "devices": ["/dev/dri/renderD128"],
        "volumes": [{"path": "/films", "host-path": "/srv/films", "writable": True}],
    }
    stack.resources[:] = run(stack.config)


@rejected("one-resource-each", "site-2: makes hardware address BC:24:11:00:00:65, as site-1 does")
def two_guests_of_one_hardware_address(stack: Stack) -> None:
    address = stack.inputs("vm", "site-1")["networkDevices"][0]["macAddress"]
    stack.inputs("vm", "site-2")["networkDevices"][0]["macAddress"] = address.lower()


@rejected("one-resource-each", "local-network: makes alias local_network of the datacenter, as LOCAL does")
def one_alias_in_two_spellings(stack: Stack) -> None:
    stack.add("alias", "LOCAL", {"name": "Local_Network", "cidr": "10.10.1.0/24"})


@rejected(
    "guests-have-no-back-door",
    "site-1: serialDevices[0].device leads past its network cards",
    "site-1: rngs[1].source leads past its network cards",
    "site-2: memory.shared leads past its network cards",
)
def a_device_of_the_node(stack: Stack) -> None:
    stack.inputs("vm", "site-2")["memory"]["shared"] = 64.0
    stack.inputs("vm", "site-1")["serialDevices"] = [{"device": "/dev/ttyS0"}, {"device": "socket"}]
    stack.inputs("vm", "site-1")["rngs"] = [{"source": "/dev/hwrng"}, {"source": "/dev/nvme0n1"}]


@rejected(
    "guests-have-no-back-door",
    *(
        f"site-1: {path} holds a separator, so Proxmox reads it as more than one setting"
        for path in (
            "disks[0].datastoreId",
            "disks[0].serial",
            "networkDevices[0].model",
            "bootOrders[0]",
            "machine",
        )
    ),
    *(
        f"site-2: {path} can't be known before creation, so it may be several settings"
        for path in ("machine", "cpu.type", "networkDevices[0].model")
    ),
    "site-1: bootOrders leads past its network cards",
)
def more_than_one_setting_in_a_text(stack: Stack) -> None:
    inputs = stack.inputs("vm", "site-1")
    inputs["disks"][0] |= {"datastoreId": "local-lvm:vm-301-disk-0,x=", "serial": "1,file=/dev/sda"}
    inputs["networkDevices"][0]["model"] = "virtio,bridge=vmbr0"
    inputs |= {"bootOrders": ["scsi0;net0"], "machine": "pc -netdev user", "tags": ["a", "b"]}
    inputs |= {"cpu": {"affinity": "0,2", "cores": 1.0}, "hotplug": "disk,usb"}
    other = stack.inputs("vm", "site-2")
    other |= {"machine": UNKNOWN, "cpu": {"type": UNKNOWN, "affinity": UNKNOWN}, "description": UNKNOWN}
    other["networkDevices"][0]["model"] = UNKNOWN


@rejected(
    "guests-have-their-own-disks",
    "site-1: disks[0].pathInDatastore gives it content that is there already",
    "site-1: cdrom.fileId gives it content that is there already",
    "site-2: clone.vmId is 301, not the template 9000",
    "site-2: clone.nodeName is pve2, not pve1, which has the template",
    "jellyfin: disks[1].fileId gives it content that is there already",
    "jellyfin: disks[1].importFrom gives it content that is there already",
    "box: operatingSystem.templateFileId gives it content that is there already",
    *(
        f"vaultwarden: {path}.datastoreId is not the declared storage local-lvm"
        for path in ("disks[0]", "efiDisk", "tpmState", "initialization", "clone")
    ),
)
def disks_with_the_data_of_others(stack: Stack) -> None:
    stack.inputs("vm", "site-1")["disks"][0]["pathInDatastore"] = "/dev/nvme0n1"
    stack.inputs("vm", "site-1")["cdrom"] = {"fileId": "local:iso/seed.iso"}
    stack.inputs("vm", "site-2")["clone"] |= {"vmId": 301.0, "nodeName": "pve2"}
    image = {"interface": "scsi1", "fileId": "local:iso/x.img", "importFrom": "local-lvm:vm-301-disk-0"}
    stack.inputs("vm", "jellyfin")["disks"].append(image)
    stack.add(_CONTAINER, "box", {"operatingSystem": {"templateFileId": "local:backup/vzdump-lxc-301.tar"}})
    vault, other = stack.inputs("vm", "vaultwarden"), {"datastoreId": "nas"}
    vault |= {"efiDisk": {**other, "type": "4m"}, "tpmState": {**other, "version": "v2.0"}}
    for each in (vault["disks"][0], vault["initialization"], vault["clone"]):
        each.update(other)


@rejected(
    "guests-have-their-own-disks",
    "site-1: disks[0].interface is scsi0, as initialization has it, and one replaces the other",
    "site-2: disks[1].interface is scsi0, as disks[0] has it, and one replaces the other",
    "jellyfin: cdrom.interface is ide2, as initialization has it, and one replaces the other",
    "stirling-pdf: disks[0].interface is net0, which is no disk's",
    "vaultwarden: cdrom.interface is ide3, as disks[0] has it, and one replaces the other",
    "vaultwarden: disks[1].interface is ide2, as initialization has it, and one replaces the other",
    "vaultwarden: disks[2].interface is not set, which is no disk's",
)
def disks_in_one_place(stack: Stack) -> None:
    stack.inputs("vm", "site-1")["initialization"]["interface"] = "scsi0"
    disks = stack.inputs("vm", "site-2")["disks"]
    disks.append(copy.deepcopy(disks[0]))
    stack.inputs("vm", "jellyfin")["cdrom"] = {"interface": "ide2"}
    stack.inputs("vm", "stirling-pdf")["cdrom"] = {"fileId": "", "interface": "ide3"}
    stack.inputs("vm", "stirling-pdf")["disks"][0]["interface"] = "net0"
    vault = stack.inputs("vm", "vaultwarden")
    del vault["initialization"]["interface"]
    vault["cdrom"] = {}
    disk = vault["disks"][0]
    vault["disks"] = [
        {**disk, "interface": "ide3"},
        {**disk, "interface": "ide2"},
        {**disk, "interface": None},
    ]


@rejected(
    "guests-have-their-own-disks",
    "site-1: clone is set, and the guest is there already",
    "site-1: disks[0].pathInDatastore gives it content that is not its own",
    "site-2: disks[0].pathInDatastore gives it content that is not its own",
)
def guests_that_exist_with_the_disks_of_others(stack: Stack) -> None:
    for number, name, disk in ((101, "site-1", "vm-102-disk-0"), (102, "site-2", "/dev/vm-102-disk-0")):
        stack.config["services"][name]["existing-mac"] = f"BC:24:11:00:00:{number:02X}"
        stack.inputs("vm", name)["disks"][0]["pathInDatastore"] = disk
    del stack.inputs("vm", "site-2")["clone"]


@rejected(
    "firewall-can-be-built",
    "site-1: rules[0] includes group nobody, which is not in the stack",
    "site-2: rules[0] can't be built: ICMP type 300 is unknown, "
    "so Proxmox leaves the guests of the group without any filter",
    "jellyfin: rules[0] can't be built: alias guest/ingress-vlan20 is not in this scope, "
    "so Proxmox leaves the guests of the group without any filter",
    "stirling-pdf: rules[0] can't be built: alias dc/ingress-vlan99 is not in the stack, "
    "so Proxmox refuses it",
    "vaultwarden: rules[0] can't be built: iptables takes no single port of udplite, "
    "so no further rule of the node takes effect",
    "vaultwarden: rules[1] can't be built: port ² is unknown, so Proxmox refuses it",
    "Web: can't be built: group Web is no name that Proxmox finds again: use 2 to 18 lower-case characters, "
    "so Proxmox refuses it",
    "twice: can't be built: the kernel takes 10.10.20.0/24 and 10.10.20.2/24 for one network, "
    "so no further rule of the node takes effect",
    "nets: can't be built: 0.0.0.0/0 is a zero prefix, so Proxmox refuses it",
    "twice: comment can't be built: it is more than one line of Proxmox's file",
    "vmbr1: comment can't be built: it is more than one line of Proxmox's file",
    "site-1: logLevelIn can't be built: it is more than one line of Proxmox's file",
)
def a_firewall_that_proxmox_cannot_build(stack: Stack) -> None:
    stack.inputs("rules", "site-1")["rules"][0]["securityGroup"] = "nobody"
    stack.inputs("group", "site-2")["rules"][0] |= {"proto": "icmp", "dport": "300"}
    stack.inputs("group", "jellyfin")["rules"][0]["source"] = "guest/ingress-vlan20"
    stack.inputs("group", "stirling-pdf")["rules"][0]["source"] = "dc/ingress-vlan99"
    stack.inputs("group", "vaultwarden")["rules"][0] |= {"proto": "udplite"}
    stack.inputs("group", "vaultwarden")["rules"].append(
        {**stack.inputs("group", "vaultwarden")["rules"][0], "proto": "tcp", "dport": "²"}
    )
    stack.add("group", "Web", {"name": "Web", "rules": []})
    stack.add("alias", "host-bits", {"name": "host-bits", "cidr": "10.10.20.2/24"})
    stack.add(
        "ipset", "twice", {"name": "twice", "cidrs": [{"name": "10.10.20.0/24"}, {"name": "host-bits"}]}
    )
    stack.add("ipset", "nets", {"name": "nets", "cidrs": [{"name": "0.0.0.0/0"}]})
    stack.inputs("ipset", "twice")["comment"] = "x\n0.0.0.0/1"
    stack.inputs("bridge", "vmbr1")["comment"] = "x\r\tpost-up nft flush ruleset"
    stack.inputs("options", "site-1")["logLevelIn"] = "nolog\n[RULES]"


@rejected(
    "firewall-can-be-built",
    *(
        f"{name} can't be built: {what} begins with a zero, so iptables takes it for an octal number"
        for name, what in {
            "site-1: rules[0]": "the prefix of 10.10.10.2/032",
            "site-1: rules[1]": "port 0443",
            "site-1: rules[2]": "ICMP type 010",
            "wide:": "the prefix of 10.10.10.2/032",
            "octal:": "the prefix of 10.10.10.0/024",
        }.items()
    ),
    "site-2: rules[0] can't be built: 10.10.10.0/0.0.0.255 is no address, network or range, "
    "so Proxmox refuses it",
)
def numbers_that_iptables_reads_as_octal(stack: Stack) -> None:
    rules = stack.inputs("group", "site-1")["rules"]
    dropped = {"type": "in", "action": "DROP", "source": "dc/ingress-vlan10"}
    rules[0]["source"] = "10.10.10.2/032"
    rules.append({**dropped, "proto": "tcp", "dport": "0443"})
    rules.append({**dropped, "proto": "icmp", "dport": "010"})
    stack.inputs("group", "site-2")["rules"][0]["source"] = "10.10.10.0/0.0.0.255"
    stack.add("alias", "wide", {"name": "wide", "cidr": "10.10.10.2/032"})
    stack.add("ipset", "octal", {"name": "octal", "cidrs": [{"name": "10.10.10.0/024"}]})


@rejected(
    "standing-ports-for-management",
    "datacenter: has no alias local_network, so ports 22, 3128, 5900-5999, 8006, 60000-60050 of the node are "
    "open to its routed network",
    "management: lets in addresses that are in no management zone",
)
def standing_ports_open_to_every_lan(stack: Stack) -> None:
    stack.remove("alias", "local-network")
    stack.add("ipset", "management", {"name": "management", "cidrs": [{"name": "192.168.0.0/16"}]})


@rejected("standing-ports-for-management", "management: lets in addresses that are in no management zone")
def standing_ports_open_by_ipv6(stack: Stack) -> None:
    stack.add("alias", "six", {"name": "six", "cidr": "fd00::/8"})
    stack.add("ipset", "management", {"name": "Management", "cidrs": [{"name": "dc/six"}]})


@rejected(
    "standing-ports-for-management",
    "local-network: local_network is 10.10.0.0/16, not the management prefix 10.10.1.0/24",
)
def a_local_network_that_is_wider(stack: Stack) -> None:
    stack.inputs("alias", "local-network")["cidr"] = "10.10.0.0/16"


@rejected(
    "datacenter-closed",
    "pve1: nftables is on, so another firewall acts, which does not filter as these rules say",
)
def the_other_firewall(stack: Stack) -> None:
    stack.add("proxmoxve:node/firewall:Firewall", "pve1", {"nodeName": "pve1", "nftables": True})


@rejected(
    "accept-rules-declared",
    "jellyfin: rules[0] accepts what no declared flow of jellyfin needs "
    "(in ACCEPT source dc/shadow proto tcp dport 8096)",
)
def an_alias_shadowed_by_a_guests_own(stack: Stack) -> None:
    stack.add("alias", "shadow", {"name": "shadow", "cidr": "0.0.0.0/0"})
    own = {"name": "shadow", "cidr": "10.10.20.2", "nodeName": "pve1"}
    stack.add("alias", "own", {**own, "vmId": stack.inputs("vm", "jellyfin")["vmId"]})
    stack.inputs("group", "jellyfin")["rules"][0]["source"] = "dc/shadow"


@rejected("cards-firewalled", "jellyfin: net0: its firewall is off, so the guest's rules do nothing")
def a_card_with_its_firewall_off(stack: Stack) -> None:
    _card(stack, "jellyfin")["firewall"] = False


@rejected(
    "guest-options-closed",
    "site-1: enabled is off, so the guest's rules do nothing",
    "site-1: outputPolicy is ACCEPT, not DROP",
    "site-1: ipfilter is off, so the guest can send from another's address",
    "site-1: macfilter is off, so the guest can send from another's hardware address",
    "site-1: dhcp is on, so the guest can answer and ask for addresses past its rules",
    "site-1: radv is on, so the guest can announce itself as a router",
)
def guest_options_left_open(stack: Stack) -> None:
    options = {
        "enabled": False,
        "outputPolicy": "ACCEPT",
        "ipfilter": False,
        "macfilter": False,
        "dhcp": True,
    }
    stack.inputs("options", "site-1").update(options, radv=True)


@rejected(
    "guests-firewalled",
    *(
        f"{name}: has no firewall options, so its firewall is off"
        for name in ("site-1", "site-2", "jellyfin", "stirling-pdf", "vaultwarden")
    ),
)
def no_proxmox_firewall_at_all(stack: Stack) -> None:
    kinds = {KINDS[kind] for kind in ("options", "rules", "ipset", "alias", "group", "datacenter")}
    stack.resources = [each for each in stack.resources if each.type not in kinds]


@rejected("guests-firewalled", "site-1: belongs to guest 999, which is not in the stack")
def rules_of_nobody(stack: Stack) -> None:
    stack.inputs("rules", "site-1")["vmId"] = 999.0


@rejected("guests-firewalled", "site-1: is for node pve9, where site-1 is not")
def rules_on_another_node(stack: Stack) -> None:
    stack.inputs("rules", "site-1")["nodeName"] = "pve9"


@rejected(
    "guests-pinned",
    "vaultwarden: does not pin vaultwarden to its declared 10.10.30.11 alone",
    "jellyfin: has no ipset ipfilter-net0, so its IP filter passes nothing",
)
def an_ip_filter_that_is_wider_or_absent(stack: Stack) -> None:
    stack.inputs("ipset", "vaultwarden")["cidrs"] = [{"name": "10.10.30.0/24"}]
    stack.remove("ipset", "jellyfin")


@rejected(
    "datacenter-closed",
    "datacenter: enabled is off, so no rule of any guest does anything",
    "datacenter: inputPolicy is ACCEPT, not DROP",
    "datacenter: ebtables is off, so no guest's hardware address is checked",
)
def a_datacenter_left_open(stack: Stack) -> None:
    off = {"enabled": False, "inputPolicy": "ACCEPT", "ebtables": False}
    stack.inputs("datacenter", "datacenter").update(off)


@rejected("datacenter-closed", "node: enabled is off, so no rule of any guest does anything")
def a_node_with_its_firewall_off(stack: Stack) -> None:
    stack.add("proxmoxve:node/firewall:Firewall", "node", {"nodeName": "pve1", "enabled": False})


@rejected(
    "datacenter-firewalled",
    "datacenter: its firewall is not in the stack, so no rule of any guest does anything",
)
def no_datacenter_firewall(stack: Stack) -> None:
    stack.remove("datacenter", "datacenter")


@rejected(
    "administrators-not-locked-out",
    "datacenter: drops what comes in, and no rule accepts management -> proxmox-srv:8006/tcp",
    "datacenter: drops what comes in, and no rule accepts management -> proxmox-srv:22/tcp",
)
def a_datacenter_that_locks_out(stack: Stack) -> None:
    stack.remove("rules", "datacenter")


def _rule(stack: Stack, name: str) -> dict[str, Any]:
    rule = stack.inputs("group", name)["rules"][0]
    assert isinstance(rule, dict)
    return rule


@rejected("accept-rules-narrow", "jellyfin: rules[0] accepts without source, proto, dport")
def an_accept_rule_without_port_or_protocol(stack: Stack) -> None:
    for key in ("source", "proto", "dport"):
        del _rule(stack, "jellyfin")[key]


@rejected("accept-rules-narrow", "jellyfin: rules[0] accepts by macro Web, which is wider than a flow")
def an_accept_rule_by_macro(stack: Stack) -> None:
    _rule(stack, "jellyfin")["macro"] = "Web"


@rejected(
    "accept-rules-declared",
    "vaultwarden: rules[0] accepts what no declared flow of vaultwarden needs "
    "(in ACCEPT source 10.10.30.0/24 proto tcp dport 80)",
)
def an_accept_rule_for_whoever_comes_next(stack: Stack) -> None:
    _rule(stack, "vaultwarden")["source"] = "10.10.30.0/24"


@rejected(
    "accept-rules-declared",
    "vaultwarden: rules[0] accepts what no declared flow of vaultwarden needs "
    "(in ACCEPT source dc/ingress-vlan30 proto tcp dport 80 sport 53)",
)
def an_accept_rule_that_clients_do_not_match(stack: Stack) -> None:
    _rule(stack, "vaultwarden")["sport"] = "53"


@rejected(
    "accept-rules-declared",
    "vaultwarden: rules[1] accepts what no declared flow of vaultwarden needs "
    "(out ACCEPT dest 10.10.30.0/24 proto tcp dport 443)",
)
def egress_that_nobody_declared(stack: Stack) -> None:
    egress = {"type": "out", "action": "ACCEPT", "dest": "10.10.30.0/24", "proto": "tcp", "dport": "443"}
    stack.inputs("group", "vaultwarden")["rules"].append(egress)


@rejected(
    "firewall-rules-match",
    "site-1: no guest includes group site-1",
    "site-2: rules[0] is switched off (in ACCEPT source dc/ingress-vlan10 proto tcp dport 443)",
    "jellyfin: rules[1] has type forward and action DROP, which is never applied",
    "jellyfin: rules[2] is for net7, which no guest here has",
    "stirling-pdf: rules[1] repeats another (in ACCEPT source dc/ingress-vlan20 proto tcp dport 8080)",
    "spare: no rule names spare",
    "datacenter: rules[0] is for net0, which no node here is known to have",
)
def rules_that_never_match(stack: Stack) -> None:
    stack.inputs("rules", "site-1")["rules"][0]["securityGroup"] = "nobody"
    _rule(stack, "site-2")["enabled"] = False
    _rule(stack, "jellyfin")["source"] = "dc/ingress-vlan99"
    more = [{"type": "forward", "action": "DROP"}, {"type": "in", "action": "DROP", "iface": "net7"}]
    stack.inputs("group", "jellyfin")["rules"] += more
    stack.inputs("group", "stirling-pdf")["rules"].append(copy.deepcopy(_rule(stack, "stirling-pdf")))
    stack.add("alias", "spare", {"name": "spare", "cidr": "10.10.20.9/32"})
    stack.add("ipset", "strangers", {"name": "blacklist", "cidrs": [{"name": "203.0.113.0/24"}]})
    stack.inputs("rules", "datacenter")["rules"][0]["iface"] = "net0"


@rejected("bridge-carries-declared-vlans", "vmbr1: vids carries VLAN 2-9, which is no declared zone")
def a_trunk_wider_than_used(stack: Stack) -> None:
    stack.inputs("bridge", "vmbr1")["vids"] = "2-10 20 30"


@rejected(
    "bridge-carries-declared-vlans",
    "vmbr1: address puts the node itself on it",
    "vmbr1: vlanAware is off, so all guests share one network",
    "vmbr1: port eno2 leads to undeclared machines",
    "vmbr1: vids does not carry VLAN 20",
)
def a_bridge_that_joins_everything(stack: Stack) -> None:
    stack.inputs("bridge", "vmbr1").update(
        address="10.10.10.1/24", vlanAware=False, ports=["eno2"], vids="10 30"
    )


@rejected(
    "bridge-carries-declared-vlans",
    "vmbr1: address puts the node itself on it",
    "vmbr1: gateway6 puts the node itself on it",
)
def a_bridge_with_an_address_that_is_unreadable(stack: Stack) -> None:
    stack.inputs("bridge", "vmbr1").update(address="dhcp", gateway6="auto")


@rejected(
    "bridge-carries-declared-vlans",
    "vmbr1: port eno3 leads to undeclared machines",
    "vmbr1: the declared uplink eno2 is not its port, so no VLAN leaves the node",
)
def a_bridge_with_another_uplink(stack: Stack) -> None:
    stack.config["hosts"]["proxmox-srv"]["uplink"] = "eno2"
    stack.inputs("bridge", "vmbr1")["ports"] = ["eno3"]


@rejected(
    "bridge-carries-declared-vlans",
    "vmbr1.99: address puts the node itself on it",
    "vmbr1.99: VLAN 99 is no declared zone",
)
def a_vlan_interface_of_the_node(stack: Stack) -> None:
    inputs = {
        "nodeName": "pve1",
        "name": "vmbr1.99",
        "interface": "vmbr1",
        "vlan": 99.0,
        "address": "10.9.9.1/24",
    }
    stack.add("proxmoxve:network/linux/vlan:Vlan", "vmbr1.99", inputs)


@rejected(
    "bridges-exist",
    *(
        f"{name}: is on bridge vmbr1, which is not in the stack"
        for name in ("site-1", "site-2", "jellyfin", "stirling-pdf", "vaultwarden")
    ),
)
def a_bridge_that_the_pack_cannot_see(stack: Stack) -> None:
    stack.remove("bridge", "vmbr1")


@rejected("isolated-guests-are-alone", "vaultwarden: is a second tenant of isolated VLAN 30")
def a_second_tenant_beside_vaultwarden(stack: Stack) -> None:
    _card(stack, "jellyfin")["vlanId"] = 30.0


# -------------------------------------------------------------------------------------------- ingress


@rejected(
    "ingress-configuration-known",
    "traefik: providers.docker: is not a setting whose traffic is known",
)
def routes_from_the_docker_provider(stack: Stack) -> None:
    edit(stack, "traefik", STATIC, lambda c: c["providers"].update(docker={"exposedByDefault": True}))


@rejected(
    "ingress-configuration-known",
    "traefik: /etc/traefik/dynamic: is mounted from outside, so its content can't be known",
)
def routes_from_a_volume(stack: Stack) -> None:
    mounted = {"containerPath": "/etc/traefik/dynamic", "volumeName": "routes"}
    stack.inputs("container", "traefik").setdefault("volumes", []).append(mounted)


@rejected(
    "ingress-configuration-known",
    "traefik: static configuration: comes from two sources, of which Traefik reads one",
    "traefik: providers.docker: is not a setting whose traffic is known",
)
def routes_from_the_command_line(stack: Stack) -> None:
    container(stack, "traefik", command=["--providers.docker=true"])


@rejected(
    "ingress-configuration-known",
    "traefik: static configuration: comes from two sources, of which Traefik reads one",
    "traefik: providers.consul: is not a setting whose traffic is known",
)
def routes_from_the_environment(stack: Stack) -> None:
    container(stack, "traefik", envs=["TRAEFIK_PROVIDERS_CONSUL_ENDPOINTS=10.10.1.9:8500"])


@rejected(
    "ingress-configuration-known",
    f"traefik: {ROUTES}: http.serversTransports.site-1.spiffe: is not a setting whose traffic is known",
    f"traefik: {ROUTES}: tcp.serversTransports.any.proxyProtocol: is not a setting whose traffic is known",
)
def a_transport_that_nobody_knows(stack: Stack) -> None:
    def change(content: Any) -> None:
        content["http"]["serversTransports"]["site-1"]["spiffe"] = {"trustDomain": "x"}
        content["tcp"] = {"serversTransports": {"any": {"proxyProtocol": {"version": 2}}}}

    edit(stack, "traefik", ROUTES, change)


@rejected(
    "ingress-configuration-known",
    "traefik: /etc/traefik/dynamic/more.yml: is a template, whose result can't be known",
    "traefik: /etc/traefik/dynamic/routes.yml: http.middlewares.ask.plugin: "
    "sends requests to destinations that can't be known",
    "traefik: /etc/traefik/dynamic/routes.yml: http.middlewares.trusting.forwardAuth.trustForwardHeader: "
    "is not a setting whose traffic is known",
    f"traefik: {TLS}: tls.options.default: is in /etc/traefik/dynamic/first.yml, too, "
    "and Traefik takes one of the two",
)
def configuration_that_only_traefik_can_read(stack: Stack) -> None:
    weak = {"file": "/etc/traefik/dynamic/first.yml", "content": "tls: {options: {default: {}}}"}
    stack.inputs("container", "traefik")["uploads"].append(weak)
    more = {"file": "/etc/traefik/dynamic/more.yml", "content": "http: {{ env `ROUTES` }}"}
    stack.inputs("container", "traefik")["uploads"].append(more)
    trusting = {"forwardAuth": {"address": "http://10.10.1.9", "trustForwardHeader": True}}
    ask = {"ask": {"plugin": {"ask": {"address": "http://10.10.1.9"}}}, "trusting": trusting}
    edit(stack, "traefik", ROUTES, lambda c: c["http"].update(middlewares=ask))


@rejected(
    "ingress-configuration-whole",
    "traefik: /etc/traefik/dynamic/routes.yml: http.middlewares: is empty, so Traefik drops the whole file",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.grafana: "
    "names middleware nobody, which is not defined",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.grafana: "
    "names entrypoint web3, which is not defined",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.grafana: "
    "names certificate resolver letsencrypt, which is not defined",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.site-1: names service gone, which is not defined",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.twin: "
    "has the rule of another router; which of them answers is chance",
    "traefik: /etc/traefik/dynamic/routes.yml: http.services.site-2: "
    "names transport nobody, which is not defined",
)
def names_that_nothing_defines(stack: Stack) -> None:
    def change(content: Any) -> None:
        http = content["http"]
        http["middlewares"] = {}
        http["routers"]["grafana"].update(
            middlewares=["nobody"],
            entryPoints=["websecure", "web3"],
            tls={"certResolver": "letsencrypt"},
        )
        http["routers"]["site-1"]["service"] = "gone"
        http["routers"]["twin"] = dict(http["routers"]["site-2"])
        http["services"]["site-2"]["loadBalancer"]["serversTransport"] = "nobody"

    edit(stack, "traefik", ROUTES, change)


@rejected(
    "ingress-configuration-whole",
    "traefik: /etc/traefik/dynamic/routes.yml, line 2: does not parse, so Traefik drops all of it",
)
def a_file_that_does_not_parse(stack: Stack) -> None:
    stack.inputs("container", "traefik")["uploads"][1]["content"] = "http: {routers: ["


@rejected(
    "ingress-keeps-to-itself",
    "traefik: api.insecure: serves the dashboard without authentication",
    "traefik: entrypoints.websecure: trusts X-Forwarded headers from every address",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.dashboard: "
    "serves api@internal without authentication",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.dashboard: "
    "names no entrypoint, so it answers on all of them",
)
def the_dashboard_without_authentication(stack: Stack) -> None:
    def static(content: Any) -> None:
        content["api"] = {"insecure": True}
        content["entryPoints"]["websecure"]["forwardedHeaders"] = {"insecure": True}

    edit(stack, "traefik", STATIC, static)
    dashboard = {"rule": "Host(`d.homelab.localhost`)", "service": "api@internal"}
    edit(stack, "traefik", ROUTES, lambda c: c["http"]["routers"].update(dashboard=dashboard))


@rejected(
    "ingress-keeps-to-itself",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.vaultwarden: serves in clear on entrypoint web3",
)
def a_route_in_clear(stack: Stack) -> None:
    edit(stack, "traefik", STATIC, lambda c: c["entryPoints"].update(web3={"address": ":8080"}))
    edit(
        stack,
        "traefik",
        ROUTES,
        lambda c: c["http"]["routers"]["vaultwarden"].update(entryPoints=["websecure", "web3"]),
    )


def _router(stack: Stack, **settings: Any) -> None:
    edit(stack, "traefik", ROUTES, lambda c: c["http"]["routers"]["vaultwarden"].update(settings))


@rejected("admin-pages-closed", f"traefik: {ROUTES}: http.routers.vaultwarden: passes an admin page")
def an_admin_page_for_everybody(stack: Stack) -> None:
    _router(stack, rule="Host(`vaultwarden.homelab.localhost`)")


@rejected("admin-pages-closed", f"traefik: {ROUTES}: http.routers.vaultwarden: passes an admin page")
def an_admin_page_left_out_as_it_is_mostly_written(stack: Stack) -> None:
    _router(stack, rule="Host(`vaultwarden.homelab.localhost`) && !PathPrefix(`/admin`)")


@rejected(
    "admin-pages-closed",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.vaultwarden: passes an admin page",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.any: passes an admin page",
)
def an_admin_page_by_wildcards(stack: Stack) -> None:
    def change(content: Any) -> None:
        routers = content["http"]["routers"]
        routers["any"] = routers["vaultwarden"] | {"rule": "HostRegexp(`.+`)", "priority": 9}
        routers["vaultwarden"]["rule"] = f"Host(`a.homelab.localhost`) || {routers['vaultwarden']['rule']}"
        content["tcp"] = {
            "routers": {"any": {"rule": "HostSNI(`*`)", "service": "any", "entryPoints": ["websecure"]}},
            "services": {"any": {"loadBalancer": {"servers": [{"address": "10.10.30.11:80"}]}}},
        }

    edit(stack, "traefik", ROUTES, change)


@rejected(
    "admin-pages-closed",
    f"traefik: {ROUTES}: http.routers.vaultwarden: puts a path before the one that is asked for",
    f"traefik: {ROUTES}: http.routers.vaultwarden: "
    f"{MIDDLEWARES}: http.middlewares.path.replacePathRegex asks for another path",
    f"traefik: {ROUTES}: http.routers.vaultwarden: "
    f"{MIDDLEWARES}: http.middlewares.prefix.stripPrefix asks for another path",
)
def an_admin_page_by_another_path(stack: Stack) -> None:
    path = {"replacePathRegex": {"regex": "^/x", "replacement": "/admin"}}
    both = {"path": path, "prefix": {"stripPrefix": {"prefixes": ["/x"]}}}
    edit(stack, "traefik", MIDDLEWARES, lambda c: c["http"]["middlewares"].update(both))
    _static(stack, lambda c: c["entryPoints"]["websecure"]["http"]["middlewares"].append("prefix@file"))
    _router(stack, middlewares=["path"])
    server = {"url": "http://10.10.30.11:80/admin", "preservePath": True}
    edit(
        stack,
        "traefik",
        ROUTES,
        lambda c: c["http"]["services"]["vaultwarden"]["loadBalancer"].update(servers=[server]),
    )


def _static(stack: Stack, change: Callable[[Any], None]) -> None:
    edit(stack, "traefik", STATIC, change)


def _middleware(stack: Stack, name: str, **settings: Any) -> None:
    def change(content: Any) -> None:
        (body,) = content["http"]["middlewares"][name].values()
        body.update(settings)

    edit(stack, "traefik", MIDDLEWARES, change)


@rejected(
    "ingress-configuration-known",
    "traefik: accesslog.otlp: is not a setting whose traffic is known",
    "traefik: entrypoints.websecure.proxyProtocol: is not a setting whose traffic is known",
    "traefik: entrypoints.websecure.forwardedheaders.connection: is not a setting whose traffic is known",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.headers.headers.isDevelopment: "
    "is not a setting whose traffic is known",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.login.basicAuth.users: "
    "is not a setting whose traffic is known",
    "traefik: /etc/traefik/dynamic/tls.yml: tls.options.default.maxVersion: "
    "is not a setting whose traffic is known",
    "traefik: entrypoints.web.http.redirections.regex: is not a setting whose traffic is known",
    "traefik: /etc/traefik/dynamic/tls.yml: tls.certificates[0].generated: "
    "is not a setting whose traffic is known",
)
def settings_that_undo_others(stack: Stack) -> None:
    def static(content: Any) -> None:
        content["accessLog"]["otlp"] = {"http": {"endpoint": "https://10.10.1.9"}}
        content["entryPoints"]["websecure"]["proxyProtocol"] = {"insecure": True}
        content["entryPoints"]["websecure"]["forwardedHeaders"] = {"connection": ["X-Real-Ip"]}
        content["entryPoints"]["web"]["http"]["redirections"]["regex"] = "x"

    _static(stack, static)
    _middleware(stack, "headers", isDevelopment=True)
    _middleware(stack, "login", users=["admin:admin"])

    def tls(content: Any) -> None:
        content["tls"]["options"]["default"]["maxVersion"] = "VersionTLS12"
        content["tls"]["certificates"][0]["generated"] = True

    edit(stack, "traefik", TLS, tls)


@rejected(
    "ingress-configuration-whole",
    "traefik: entrypoints.websecure: names middleware headers@file, which is not defined",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.prometheus-ui: "
    "names middleware login, which is not defined",
    "traefik: accesslog.fields.names.ClientHost: is not text",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.more.headers.customRequestHeaders.X: "
    "is not text",
)
def middlewares_that_nothing_defines(stack: Stack) -> None:
    def change(content: Any) -> None:
        del content["http"]["middlewares"]["headers"]
        del content["http"]["middlewares"]["login"]
        content["http"]["middlewares"]["more"] = {"headers": {"customRequestHeaders": {"X": True}}}

    _static(stack, lambda c: c["accessLog"]["fields"]["names"].update(ClientHost=True))
    edit(stack, "traefik", MIDDLEWARES, change)


@rejected(
    "ingress-tls-current",
    "traefik: /etc/traefik/dynamic/tls.yml: tls.options.default.minVersion: "
    "is neither VersionTLS12 nor VersionTLS13",
    "traefik: /etc/traefik/dynamic/tls.yml: tls.options.default.cipherSuites: "
    "TLS_RSA_WITH_AES_128_CBC_SHA is not among the current ones",
    "traefik: /etc/traefik/dynamic/tls.yml: tls.options.default.curvePreferences: "
    "is not set, so old ones are accepted",
    "traefik: /etc/traefik/dynamic/tls.yml: tls.options.default.sniStrict: "
    "is not true, so any host name gets a handshake",
    "traefik: /etc/traefik/dynamic/tls.yml: tls.certificates[0].keyFile: names no uploaded file",
)
def old_protocols_for_any_name(stack: Stack) -> None:
    def change(content: Any) -> None:
        option = content["tls"]["options"]["default"]
        option.update(minVersion="VersionTLS10", sniStrict=False)
        option["cipherSuites"].append("TLS_RSA_WITH_AES_128_CBC_SHA")
        del option["curvePreferences"]
        content["tls"]["certificates"][0]["keyFile"] = "/etc/traefik/tls/gone.pem"

    edit(stack, "traefik", TLS, change)


@rejected(
    "ingress-tls-current",
    "traefik: tls.options.default: is missing, so anything that Traefik can speak is spoken",
    "traefik: tls.certificates: is missing, so no host name has a certificate",
)
def no_tls_settings_at_all(stack: Stack) -> None:
    uploads = stack.inputs("container", "traefik")["uploads"]
    uploads[:] = [upload for upload in uploads if upload["file"] != TLS]


@rejected(
    "ingress-answers-guarded",
    "traefik: entrypoints.web: neither has TLS nor redirects to an entrypoint that does",
    "traefik: entrypoints.websecure: no middleware of it sets stsSeconds to a year or more",
    "traefik: entrypoints.websecure: no middleware of it sets contentTypeNosniff",
    "traefik: entrypoints.websecure: no middleware of it sets customFrameOptionsValue or frameDeny",
    "traefik: entrypoints.websecure: "
    "no middleware of it sets a referrerPolicy that keeps paths from other sites",
    "traefik: entrypoints.websecure: no middleware of it empties customResponseHeaders.Server",
)
def answers_that_browsers_misread(stack: Stack) -> None:
    _static(stack, lambda c: c["entryPoints"]["web"]["http"].pop("redirections"))
    _middleware(
        stack,
        "headers",
        stsSeconds=86400,
        contentTypeNosniff=False,
        customFrameOptionsValue="ALLOW-FROM https://x",
        referrerPolicy="unsafe-url",
        customResponseHeaders={"X-Powered-By": ""},
    )


@rejected(
    "ingress-requests-bounded",
    "traefik: entrypoints.web.transport.respondingtimeouts.readtimeout: is not within 1-300 s",
    "traefik: entrypoints.web.transport.respondingtimeouts.idletimeout: is not within 1-300 s",
    "traefik: entrypoints.websecure.transport.respondingtimeouts.readtimeout: is not within 1-300 s",
    "traefik: entrypoints.websecure.http.maxheaderbytes: is not within 1-65536",
    "traefik: entrypoints.websecure: no rateLimit of it keeps average within 1-1000",
    "traefik: entrypoints.websecure: its rateLimit has a period of less than a second",
    "traefik: entrypoints.websecure: no inFlightReq of it keeps amount within 1-1000",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.grafana: "
    "no buffering of it keeps maxRequestBodyBytes within 1-16777216",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.prometheus-ui: "
    "no buffering of it keeps maxRequestBodyBytes within 1-16777216",
)
def requests_without_bounds(stack: Stack) -> None:
    def static(content: Any) -> None:
        web, websecure = (content["entryPoints"][name] for name in ("web", "websecure"))
        del web["transport"]
        websecure["transport"]["respondingTimeouts"]["readTimeout"] = "0s"
        websecure["http"]["maxHeaderBytes"] = 1048576
        websecure["http"]["middlewares"].remove("concurrency@file")

    _static(stack, static)
    _middleware(stack, "rate", average=0, period="1ms")
    _middleware(stack, "body", maxRequestBodyBytes=0)


@rejected(
    "ingress-requests-cleaned",
    "traefik: entrypoints.web.http.sanitizepath: is not true, so services see paths with .. and //",
    "traefik: entrypoints.websecure.http.encodedcharacters.allowencodedslash: is not false",
    "traefik: entrypoints.websecure.http.encodedcharacters.allowencodedpercent: is not false",
    "traefik: entrypoints.websecure.http.aliasheadersstrategy: "
    "is neither delete nor reject; X_Real_Ip passes as X-Real-Ip",
    "traefik: entrypoints.websecure.http: no middleware of it empties customRequestHeaders.Proxy",
)
def requests_that_mean_two_things(stack: Stack) -> None:
    def static(content: Any) -> None:
        web, websecure = (content["entryPoints"][name]["http"] for name in ("web", "websecure"))
        web["sanitizePath"] = False
        websecure["aliasHeadersStrategy"] = "keep"
        websecure["encodedCharacters"]["allowEncodedSlash"] = True
        del websecure["encodedCharacters"]["allowEncodedPercent"]

    _static(stack, static)
    _middleware(stack, "headers", customRequestHeaders={"Proxy": "x"})


@rejected(
    "ingress-trusts-declared-proxies",
    "traefik: entrypoints.web.forwardedheaders.trustedips: names an undeclared proxy",
    "traefik: entrypoints.websecure.forwardedheaders.trustedips: names an undeclared proxy",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.concurrency.inFlightReq."
    "sourceCriterion: does not count by the client's address",
)
def strangers_trusted_as_proxies(stack: Stack) -> None:
    def static(content: Any) -> None:
        for name in ("web", "websecure"):
            content["entryPoints"][name]["forwardedHeaders"] = {"trustedIPs": ["0.0.0.0/0"]}

    _static(stack, static)
    _middleware(stack, "concurrency", sourceCriterion={"requestHeaderName": "X-Client"})


@rejected(
    "ingress-trusts-declared-proxies",
    "traefik: entrypoints.websecure.forwardedheaders.trustedips: lacks a declared trusted proxy",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.rate.rateLimit.sourceCriterion: "
    "does not count by the client's address",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.concurrency.inFlightReq."
    "sourceCriterion: does not count by the client's address",
)
def a_declared_proxy_that_counts_as_one_client(stack: Stack) -> None:
    declared = load(stack.config)
    docker = declared.docker.model_copy(update={"trusted_proxies": (IPv4Network("10.10.1.5/32"),)})
    stack.topology = declared.model_copy(update={"docker_hosts": (docker,)})


@rejected(
    "ingress-log-keeps-no-secret",
    "traefik: accesslog.format: is not json",
    "traefik: accesslog.fields.headers: does not drop cookies and credentials",
    "traefik: accesslog.fields.queryparameters: does not drop tokens in addresses",
    "traefik: accesslog.fields.names.ClientUsername: is not drop; people type passwords there",
)
def an_access_log_with_secrets(stack: Stack) -> None:
    headers = {"defaultMode": "drop", "names": {"Authorization": "keep"}}
    _static(stack, lambda c: c.update(accessLog={"fields": {"headers": headers}}))


@rejected(
    "ingress-asks-for-logins",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.prometheus-ui: "
    "leads to a service without users, and asks for no login",
)
def prometheus_for_everybody(stack: Stack) -> None:
    edit(
        stack,
        "traefik",
        ROUTES,
        lambda c: c["http"]["routers"]["prometheus-ui"]["middlewares"].remove("login"),
    )


@rejected(
    "ingress-asks-for-logins",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.login.basicAuth.usersFile: "
    "has a line that is not name:bcrypt",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.login.basicAuth.removeHeader: "
    "is not true, so the service gets the password",
    "traefik: uploads[9].content holds password hashes in plain text; make it a Pulumi secret",
)
def a_password_that_anybody_can_read(stack: Stack) -> None:
    users = {"file": "/etc/traefik/more", "content": f"admin:{CANARY}"}
    stack.inputs("container", "traefik")["uploads"].append(users)
    _middleware(stack, "login", usersFile="/etc/traefik/more", removeHeader=False)


@rejected(
    "ingress-asks-for-logins",
    "traefik: /etc/traefik/dynamic/middlewares.yml: http.middlewares.login.basicAuth.usersFile: "
    "names no uploaded file",
)
def a_login_that_nobody_has(stack: Stack) -> None:
    _middleware(stack, "login", usersFile="/etc/traefik/nobody")


@rejected(
    "peers-verified",
    "traefik: serverstransport: switches certificate checks off",
    "traefik: /etc/traefik/dynamic/routes.yml: http.serversTransports.any: switches certificate checks off",
)
def certificate_checks_switched_off(stack: Stack) -> None:
    edit(stack, "traefik", STATIC, lambda c: c.update(serversTransport={"insecureSkipVerify": True}))
    any_peer = {"any": {"insecureSkipVerify": True}}
    edit(stack, "traefik", ROUTES, lambda c: c["http"].update(serversTransports=any_peer))


@rejected(
    "peers-verified",
    "proxmox: insecure switches certificate checks off",
    "plain: endpoint is reached without TLS; it must begin with https://",
    "old: minTls takes TLS older than 1.2",
    "engine: host is reached without TLS",
    "engine-0: sshOpts has StrictHostKeyChecking, by which another host may answer",
    "engine-1: sshOpts has UserKnownHostsFile, by which another host may answer",
    "engine-2: sshOpts has ProxyCommand, by which another host may answer",
    "engine-3: sshOpts has -F, by which another host may answer",
    "engine-4: sshOpts has ControlPath, by which another host may answer",
    "engine-5: sshOpts has -J, by which another host may answer",
)
def providers_that_believe_anybody(stack: Stack) -> None:
    api = "pulumi:providers:proxmoxve"
    stack.add(api, "proxmox", {"insecure": "true"})
    stack.add(api, "plain", {"endpoint": "http://10.10.1.5:8006/"})
    stack.add(api, "old", {"endpoint": "https://10.10.1.5:8006/", "minTls": "1.0"})
    stack.add("pulumi:providers:docker", "engine", {"host": "tcp://10.10.1.5:2375"})
    for index, options in enumerate(
        (
            ["-o", "StrictHostKeyChecking no"],
            '["-oUserKnownHostsFile=/dev/null"]',
            ["-o", "ProxyCommand=nc 192.0.2.1 22"],
            ["-F", "/srv/other"],
            ["-p22", "-oControlPath=/srv/socket"],
            "-l me -Jother",
        )
    ):
        inputs = {"host": "ssh://docker-srv", "sshOpts": options}
        stack.add("pulumi:providers:docker", f"engine-{index}", inputs)
    known = ["-o", "StrictHostKeyChecking=yes", "-i", "~/.ssh/id"]
    stack.add("pulumi:providers:docker", "engine-6", {"host": "ssh://docker-srv", "sshOpts": known})


@rejected(
    "routes-declared",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.loki: "
    "leads to loki:3100, which is no declared route",
)
def a_router_to_loki(stack: Stack) -> None:
    leg(stack, "loki", "frontend")
    route(stack, "loki", "loki.homelab.localhost", "http://loki:3100")


@rejected(
    "ingress-listens-on-edge",
    "traefik: entry point web listens on every address, not on 172.30.0.75",
    "traefik: entry point websecure listens on 0.0.0.0, not on 172.30.0.75",
)
def an_ingress_that_listens_on_its_legs(stack: Stack) -> None:
    def listens(content: Any) -> None:
        content["entryPoints"]["web"]["address"] = ":80"
        content["entryPoints"]["websecure"]["address"] = "0.0.0.0:443"

    edit(stack, "traefik", STATIC, listens)


@rejected(
    "routes-declared",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.nas: "
    "leads to 10.10.1.7:80, which is no declared route",
)
def a_router_to_something_switched_off_on_the_management_network(stack: Stack) -> None:
    route(stack, "nas", "nas.homelab.localhost", "http://10.10.1.7:80")


@rejected(
    "routes-declared",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.grafana: "
    "its rule is not made of host names alone, so it answers for others too",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.site-1: "
    "serves site-1 under site-2.homelab.localhost, which is not its declared site-1.homelab.localhost",
)
def routers_that_answer_for_others(stack: Stack) -> None:
    def change(content: Any) -> None:
        routers = content["http"]["routers"]
        routers["grafana"]["rule"] = "PathPrefix(`/`)"
        routers["site-1"]["rule"] = "Host(`site-2.homelab.localhost`)"
        routers["site-2"]["rule"] = "Host(`site-2.homelab.localhost`) "

    edit(stack, "traefik", ROUTES, change)


@rejected(
    "routes-served",
    "traefik: no router leads to jellyfin, which is a declared route",
    "traefik: does not publish 80/tcp, which internet is declared to reach",
)
def routes_that_nobody_serves(stack: Stack) -> None:
    edit(stack, "traefik", ROUTES, lambda c: c["http"]["routers"].pop("jellyfin"))
    stack.inputs("container", "traefik")["ports"].pop(0)


@rejected("routes-served", "traefik: publishes 0.0.0.0:443 -> 443/tcp, where no entrypoint listens")
def a_port_where_nothing_listens(stack: Stack) -> None:
    edit(stack, "traefik", STATIC, lambda c: c["entryPoints"]["websecure"].update(address=":8443"))


@rejected(
    "no-routes-from-labels",
    "loki-gateway: label traefik.enable makes a route that no file declares",
    "loki-gateway: is on several networks, and no label says which of them Traefik is to use",
)
def an_ambiguous_network_for_traefik(stack: Stack) -> None:
    container(stack, "loki-gateway", labels=[{"label": "traefik.enable", "value": "true"}])


# -------------------------------------------------------------------------------------------- targets


@rejected(
    "targets-declared",
    "prometheus: /etc/prometheus/prometheus.yml: scrape target names nas, which is no declared service",
    "prometheus: /etc/prometheus/prometheus.yml: scrape target names loki:3100/tcp, "
    "which is no declared flow of prometheus",
    "prometheus: /etc/prometheus/prometheus.yml: docker_sd_configs finds undeclared targets",
)
def scrape_targets_that_can_never_work(stack: Stack) -> None:
    jobs = [
        {"job_name": "more", "static_configs": [{"targets": ["nas:9100", "loki:3100"]}]},
        {"job_name": "found", "docker_sd_configs": [{"host": "unix:///var/run/docker.sock"}]},
    ]
    edit(stack, "prometheus", "/etc/prometheus/prometheus.yml", lambda c: c["scrape_configs"].extend(jobs))


@rejected(
    "targets-declared",
    "prometheus-ui: /etc/nginx/nginx.conf: proxy_pass names grafana:3000/tcp, "
    "which is no declared flow of prometheus-ui",
)
def a_read_only_proxy_that_leads_to_loki(stack: Stack) -> None:
    conf = upload(stack, "prometheus-ui", NGINX)
    conf["content"] = conf["content"].replace("https://prometheus:9090", "http://grafana:3000")


@rejected(
    "log-paths-mounted",
    "promtail: /etc/promtail/config.yml: no mount holds the log path /var/log/*.log",
)
def a_log_path_that_can_never_work(stack: Stack) -> None:
    def change(content: Any) -> None:
        content["scrape_configs"][0]["static_configs"][0]["labels"]["__path__"] = "/var/log/*.log"

    edit(stack, "promtail", "/etc/promtail/config.yml", change)


def alloy(stack: Stack, *changes: tuple[str, str]) -> None:
    """Ship logs by Alloy in Promtail's place, with changes of the text of its configuration."""
    stack.config["services"]["promtail"] |= {"app": "alloy", "image": "grafana/alloy:v1.18.1"}
    stack.resources[:] = run(stack.config)
    given = upload(stack, "promtail", ALLOY)
    for old, new in changes:
        assert old in given["content"]
        given["content"] = given["content"].replace(old, new)


@rejected(
    "targets-declared",
    f"promtail: {ALLOY}: client names prometheus:3100/tcp, which is no declared flow of promtail",
)
def an_alloy_that_sends_elsewhere(stack: Stack) -> None:
    alloy(stack, ("https://loki-gateway", "https://prometheus"))


@rejected(
    "targets-declared",
    f"promtail: {ALLOY}: discovery.docker is not understood, so where it sends can't be known",
)
def an_alloy_that_asks_the_engine(stack: Stack) -> None:
    alloy(
        stack, ("logging {", 'discovery.docker "all" {\n  host = "unix:///run/docker.sock"\n}\n\nlogging {')
    )


@rejected(
    "targets-declared",
    f"promtail: {ALLOY}: + is not understood, so where it sends can't be known",
    "promtail: runs no uploaded file of Alloy's, so where it sends can't be known",
)
def an_alloy_that_computes_where_it_sends(stack: Stack) -> None:
    alloy(stack, ('url = "https://', 'url = "https" + "://'))
    container(stack, "promtail", command=["run", "/etc/alloy/other.alloy"])


@rejected("log-paths-mounted", f"promtail: {ALLOY}: no mount holds the log path /var/log/*/*-json.log")
def an_alloy_whose_log_path_can_never_work(stack: Stack) -> None:
    alloy(stack, ("/var/lib/docker/containers", "/var/log"))


# --------------------------------------------------------------------------------------- certificates


@rejected(
    "peers-verified",
    "blackbox-exporter: /etc/blackbox_exporter/config.yml: insecure_skip_verify switches a check off",
)
def a_watcher_that_believes_anybody(stack: Stack) -> None:
    def change(content: Any) -> None:
        content["modules"]["route"]["http"]["tls_config"]["insecure_skip_verify"] = True

    edit(stack, "blackbox-exporter", "/etc/blackbox_exporter/config.yml", change)


@rejected(
    "backend-asks-for-certificates",
    f"node-exporter: {WEB}: client_auth_type is not RequireAndVerifyClientCert",
    f"node-exporter: {WEB}: takes TLS older than 1.2",
    f"prometheus: {WEB}: cert_file is not /etc/certificates/prometheus/certificate.pem",
    f"prometheus: {WEB}: client_auth_type is not RequireAndVerifyClientCert",
    f"prometheus: {WEB}: client_ca_file is not /etc/certificates/prometheus/authorities.pem",
    f"prometheus: {WEB}: key_file is not /etc/certificates/prometheus/key.pem",
    "prometheus: --web.enable-admin-api lets its clients do more than query",
    "prometheus: --enable-feature=remote-write-receiver lets its clients do more than query",
    "blackbox-exporter: is given no file by which it asks for certificates",
)
def exporters_that_anybody_may_ask(stack: Stack) -> None:
    weak = {"client_auth_type": "RequestClientCert", "min_version": "TLS10"}
    edit(stack, "node-exporter", WEB, lambda c: c["tls_server_config"].update(weak))
    edit(stack, "prometheus", WEB, lambda c: c.clear())
    more = ["--web.enable-admin-api", "--enable-feature=remote-write-receiver"]
    stack.inputs("container", "prometheus")["command"] += more
    command = stack.inputs("container", "blackbox-exporter")["command"]
    container(stack, "blackbox-exporter", command=[w for w in command if "web.config" not in w])


@rejected(
    "backend-asks-for-certificates",
    "loki: /etc/loki/config.yaml: client_ca_file is not /etc/certificates/loki/authorities.pem",
    "loki: /etc/loki/config.yaml: server.grpc_listen_address is not 127.0.0.1",
    "loki: /etc/loki/config.yaml: internal_server.http_listen_address is not 127.0.0.1",
    "loki: /etc/loki/config.yaml: limits_config.deletion_mode is not disabled, so logs can be deleted by "
    "request",
    "loki: -server.http-tls-client-auth overrides what its file says",
    "loki: --internal-server.http-listen-address overrides what its file says",
    "loki: -compactor.deletion-mode overrides what its file says",
)
def a_loki_with_a_second_way_in(stack: Stack) -> None:
    def change(content: Any) -> None:
        content["server"]["http_tls_config"]["client_ca_file"] = "/etc/ssl/certs/ca-certificates.crt"
        del content["server"]["grpc_listen_address"], content["internal_server"]["http_listen_address"]
        content["limits_config"]["deletion_mode"] = "filter-and-delete"

    edit(stack, "loki", "/etc/loki/config.yaml", change)
    stack.inputs("container", "loki")["command"] += [
        "-server.http-tls-client-auth=NoClientCert",
        "--internal-server.http-listen-address=0.0.0.0",
        "-compactor.deletion-mode=filter-and-delete",
    ]


@rejected(
    "peers-show-certificates",
    f"prometheus: {SCRAPES}: scrape target node-exporter:9100 asks node-exporter without TLS",
    f"prometheus: {SCRAPES}: scrape target node-exporter:9100 asks node-exporter with insecure_skip_verify "
    "not left out",
    "promtail: /etc/promtail/config.yml: client asks loki-gateway with ca_file not "
    "/etc/certificates/loki-gateway/authorities.pem",
    f"grafana: {SOURCES}: data source asks prometheus with tlsSkipVerify not left out",
    f"grafana: {SOURCES}: data source asks loki-gateway with cert_file not "
    "/etc/certificates/loki-gateway/certificate.pem",
    f"grafana: {SOURCES}: data source asks loki-gateway with key_file not "
    "/etc/certificates/loki-gateway/key.pem",
    f"grafana: {SOURCES}: data source asks loki-gateway with server_name not loki-gateway",
)
def clients_that_check_nobody(stack: Stack) -> None:
    def scrape(content: Any) -> None:
        job = next(j for j in content["scrape_configs"] if j["job_name"] == "node-exporter")
        job["scheme"] = "http"
        job["tls_config"]["insecure_skip_verify"] = True

    def sources(content: Any) -> None:
        told = {source["name"]: source for source in content["datasources"]}
        told["prometheus"]["jsonData"]["tlsSkipVerify"] = True
        told["loki"]["jsonData"] |= {"tlsAuth": False, "serverName": "prometheus"}

    edit(stack, "prometheus", SCRAPES, scrape)
    edit(
        stack, "promtail", "/etc/promtail/config.yml", lambda c: c["clients"][0]["tls_config"].pop("ca_file")
    )
    edit(stack, "grafana", SOURCES, sources)


@rejected(
    "peers-show-certificates",
    f"promtail: {ALLOY}: client asks loki-gateway without TLS",
    f"promtail: {ALLOY}: client asks loki-gateway with insecure_skip_verify not left out",
    f"promtail: {ALLOY}: client asks loki-gateway with min_version not left out",
    f"promtail: {ALLOY}: client asks loki-gateway with server_name not loki-gateway",
)
def an_alloy_that_checks_nobody(stack: Stack) -> None:
    alloy(
        stack,
        ("https://", "http://"),
        ("server_name =", "insecure_skip_verify ="),
        ('"loki-gateway"', "true"),
        ("TLS13", "TLS10"),
    )


@rejected(
    "peers-show-certificates",
    f"prometheus-ui: {NGINX}: proxy_pass asks prometheus with proxy_ssl_server_name not left out",
    f"prometheus-ui: {NGINX}: proxy_pass asks prometheus with proxy_ssl_verify not left out",
    f"prometheus-ui: {NGINX}: proxy_pass asks prometheus with server_name not prometheus",
)
def a_proxy_that_checks_nobody(stack: Stack) -> None:
    conf = upload(stack, "prometheus-ui", NGINX)
    for old, new in (
        ("proxy_ssl_verify on", "proxy_ssl_verify off"),
        ("proxy_ssl_server_name on;", ""),
        ("proxy_ssl_name prometheus;", "proxy_ssl_name prometheus; }\n server {\n proxy_ssl_name other;"),
    ):
        conf["content"] = conf["content"].replace(old, new)


@rejected(
    "containers-as-rendered",
    'loki-gateway: /etc/nginx/nginx.conf line 25: expected `    "CN=grafana" reader;`',
)
def a_reader_who_writes(stack: Stack) -> None:
    conf = upload(stack, "loki-gateway", NGINX)
    conf["content"] = conf["content"].replace('"CN=grafana" reader;', '"CN=grafana" writer;')


@rejected(
    "containers-as-rendered",
    "loki-gateway: /etc/nginx/nginx.conf line 42: expected `    ssl_verify_client on;`",
    "loki-gateway: /etc/nginx/conf.d/more.conf: expected nothing",
)
def a_gateway_that_believes_anybody(stack: Stack) -> None:
    conf = upload(stack, "loki-gateway", NGINX)
    conf["content"] = conf["content"].replace("ssl_verify_client on", "ssl_verify_client optional_no_ca")
    more = {"file": "/etc/nginx/conf.d/more.conf", "content": "server { listen 3101; }"}
    stack.inputs("container", "loki-gateway")["uploads"].append(more)


@rejected(
    "certificates-as-declared",
    "cadvisor: holds /etc/certificates/loki/key.pem, which no declared flow needs",
    "prometheus: holds /etc/certificates/node-exporter/other.pem, which no declared flow needs",
    "prometheus: lacks /etc/certificates/node-exporter/authorities.pem, which a declared flow needs",
    "promtail: /etc/certificates/loki-gateway/key.pem is no secret",
)
def certificates_in_the_wrong_place(stack: Stack) -> None:
    key = {"file": "/etc/certificates/loki/key.pem", "content": UNKNOWN}
    container(stack, "cadvisor", uploads=[key], readOnly=False)
    given = upload(stack, "prometheus", "/etc/certificates/node-exporter/authorities.pem")
    given["file"] = "/etc/certificates/node-exporter/other.pem"
    bare = stack.get("container", "promtail")
    stack.resources[stack.resources.index(bare)] = replace(bare, secrets=frozenset())


@rejected(
    "certificates-as-declared",
    "traefik: /etc/certificates/site-1/authorities.pem holds something else than certificates",
    "traefik: lacks /etc/certificates/site-2/authorities.pem, which a declared flow needs",
    "traefik: holds /etc/certificates/jellyfin/authorities.pem, which no declared flow needs",
)
def authorities_of_guests_in_the_wrong_place(stack: Stack) -> None:
    upload(stack, "traefik", "/etc/certificates/site-1/authorities.pem")["content"] += (
        "-----BEGIN PRIVATE KEY-----"
    )
    given = upload(stack, "traefik", "/etc/certificates/site-2/authorities.pem")
    given["file"] = "/etc/certificates/jellyfin/authorities.pem"


def _asks(stack: Stack, service: str, **balancer: Any) -> None:
    """Change the transport by which the ingress connects to a service."""
    edit(stack, "traefik", ROUTES, lambda c: c["http"]["services"][service]["loadBalancer"].update(balancer))


def _transport(stack: Stack, name: str, **settings: Any) -> None:
    """Change how the ingress verifies a server's certificate."""
    edit(stack, "traefik", ROUTES, lambda c: c["http"]["serversTransports"][name].update(settings))


SITE_1 = f"traefik: {ROUTES}: http.services.site-1 asks site-1"
SITE_2 = f"traefik: {ROUTES}: http.services.site-2 asks site-2"
WANTED = "['/etc/certificates/site-%s/authorities.pem']"


@rejected(
    "guests-show-certificates",
    f"{SITE_1} without TLS",
    f"{SITE_2} with rootCAs not {WANTED % 2}",
    f"{SITE_2} with serverName not site-2",
)
def guests_that_nobody_checks(stack: Stack) -> None:
    _asks(stack, "site-1", servers=[{"url": "http://10.10.10.11:443"}])
    _asks(stack, "site-2", serversTransport=None)


@rejected(
    "guests-show-certificates",
    f"{SITE_1} with insecureSkipVerify not left out",
    f"{SITE_2} with rootCAs not {WANTED % 2}",
    f"{SITE_2} with serverName not site-2",
)
def guests_that_may_be_anybody(stack: Stack) -> None:
    _transport(stack, "site-1", insecureSkipVerify=True)
    _transport(stack, "site-2", serverName=None, rootCAs=["/etc/traefik/tls/certificate.pem"])


@rejected(
    "guests-show-certificates",
    f"{SITE_1} with rootCAs not {WANTED % 1}",
    f"{SITE_1} with serverName not site-1",
    f"traefik: {ROUTES}: tcp.services.site-2 asks site-2 without TLS",
    f"traefik: {ROUTES}: tcp.services.site-2 asks site-2 with rootCAs not {WANTED % 2}",
    f"traefik: {ROUTES}: tcp.services.site-2 asks site-2 with serverName not site-2",
)
def a_guest_checked_as_another(stack: Stack) -> None:
    _asks(stack, "site-1", serversTransport="site-2@file", passHostHeader=True)
    _transport(stack, "site-2", maxIdleConnsPerHost=9)
    wire = {
        "routers": {"site-2": {"rule": "HostSNI(`x`)", "entryPoints": ["websecure"], "service": "site-2"}},
        "services": {"site-2": {"loadBalancer": {"servers": [{"address": "10.10.10.12:443"}]}}},
    }
    edit(stack, "traefik", ROUTES, lambda c: c.update(tcp=wire))


@rejected(
    "guests-show-certificates",
    f"traefik: {ROUTES}: http.services.jellyfin asks jellyfin without TLS, which unencrypted does not list",
)
def a_guest_without_tls_that_nobody_declared(stack: Stack) -> None:
    topology = load(stack.config)
    unencrypted = tuple(each for each in topology.unencrypted if each.flow.destination != "jellyfin")
    stack.topology = topology.model_copy(update={"unencrypted": unencrypted})


@rejected(
    "certificates-short-lived",
    "loki-gateway.grafana.a: is valid for 87600 hours, not 30 days",
    "loki-gateway.grafana.a: is renewed 0 hours before its end, not 10 days",
    "loki-gateway.grafana.a: signs other certificates",
    "loki-gateway.grafana.a: is good for digital_signature, client_auth, cert_signing",
    "loki.a: is good for everything",
    "loki.a: is an authority that signs nothing",
    "loki.a: is valid for 8760 hours, not 1825 days",
    "prometheus.a: is a key of RSA that is not ECDSA on P256 or P384",
    "node-exporter.a: is a key of ECDSA that is not ECDSA on P256 or P384",
)
def certificates_for_ever(stack: Stack) -> None:
    leaf = stack.inputs("certificate", "loki-gateway.grafana.a")
    leaf |= {"validityPeriodHours": 87600.0, "isCaCertificate": True, "earlyRenewalHours": 0.0}
    leaf["allowedUses"].append("cert_signing")
    changed = {"isCaCertificate": False, "validityPeriodHours": 8760.0, "allowedUses": []}
    stack.inputs("authority", "loki.a").update(changed)
    stack.inputs("key", "prometheus.a").update(algorithm="RSA", rsaBits=1024.0)
    stack.inputs("key", "node-exporter.a").update(ecdsaCurve="P224")


@rejected(
    "certificates-name-their-holder",
    "loki-gateway.promtail.a: subject does not name promtail alone",
    "loki-gateway.promtail.a: dnsNames does not name promtail alone",
    "loki-gateway.promtail.a: ipAddresses does not name promtail alone",
    "loki-gateway.promtail.a: uris does not name promtail alone",
    "loki-gateway.evil.a: is a key or certificate that no declared flow needs",
    "evil.a: is a key or certificate that no declared flow needs",
)
def certificates_in_anothers_name(stack: Stack) -> None:
    stack.inputs("request", "loki-gateway.promtail.a").update(
        subject={"commonName": "grafana"},
        dnsNames=["promtail", "grafana"],
        ipAddresses=["10.10.1.9"],
        uris=["spiffe://grafana"],
    )
    request = copy.deepcopy(stack.inputs("request", "loki-gateway.grafana.a"))
    stack.add("request", "loki-gateway.evil.a", request)
    stack.add("authority", "evil.a", copy.deepcopy(stack.inputs("authority", "loki.a")))


@rejected(
    "authorities-as-declared",
    "loki-gateway: /etc/certificates/loki-gateway/authorities.pem has 2 certificates, not 1",
    "promtail: /etc/certificates/loki-gateway/authorities.pem is not what loki-gateway trusts",
    "grafana: /etc/certificates/loki-gateway/authorities.pem is not what loki-gateway trusts",
    "grafana: /etc/certificates/prometheus/authorities.pem lacks the authority that signs for prometheus",
    "promtail: /etc/certificates/loki-gateway/certificate.pem is the certificate of grafana",
)
def strangers_among_the_authorities(stack: Stack) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nevil\n"
    upload(stack, "loki-gateway", "/etc/certificates/loki-gateway/authorities.pem")["content"] += pem
    upload(stack, "grafana", "/etc/certificates/prometheus/authorities.pem")["content"] = pem
    own = "/etc/certificates/loki-gateway/certificate.pem"
    upload(stack, "promtail", own)["content"] = upload(stack, "grafana", own)["content"]


@rejected(
    "authorities-as-declared",
    "promtail: /etc/certificates/loki-gateway/certificate.pem does not name promtail alone",
    "loki-gateway.promtail.a: privateKeyPem is that of loki-gateway.grafana.a",
    "loki-gateway.loki-gateway.a: certRequestPem is that of loki-gateway.grafana.a",
    "loki-gateway.loki-gateway.a: caPrivateKeyPem is that of loki.a",
    "prometheus.grafana.a: caPrivateKeyPem is not that of prometheus.a",
)
def a_certificate_that_names_another(stack: Stack) -> None:
    own = "/etc/certificates/loki-gateway/certificate.pem"
    upload(stack, "promtail", own)["content"] = certificate("grafana", "promtail")
    one, other = "loki-gateway.loki-gateway.a", "loki-gateway.grafana.a"
    key = stack.inputs("request", other)["privateKeyPem"]
    stack.inputs("request", "loki-gateway.promtail.a")["privateKeyPem"] = key
    request = stack.inputs("certificate", one)["certRequestPem"]
    stack.inputs("certificate", other)["certRequestPem"] = request
    foreign = stack.inputs("authority", "loki.a")["privateKeyPem"]
    stack.inputs("certificate", one)["caPrivateKeyPem"] = foreign
    stack.inputs("certificate", "prometheus.grafana.a")["caPrivateKeyPem"] = "x"


@rejected("secrets-not-shared", "loki-gateway: uploads[3].content is a secret of loki.a")
def an_authority_whose_key_leaves_the_state(stack: Stack) -> None:
    key = stack.inputs("authority", "loki.a")["privateKeyPem"]
    upload(stack, "loki-gateway", "/etc/certificates/loki/key.pem")["content"] = key


# -------------------------------------------------------------------------------------------- secrets


@rejected(
    "secrets-are-files",
    "grafana: envs[0] is a secret in plain sight",
    "loki: envs.S3_SECRET_KEY holds a secret in plain sight",
    "loki: labels.admin.password holds a secret in plain sight",
    "loki: command[0] --api.token holds a secret in plain sight",
)
def secrets_in_plain_sight(stack: Stack) -> None:
    container(stack, "grafana", envs=[f"GF_ADMIN={CANARY}-grafana"])
    stack.mark_secret("container", "grafana", "envs", 0)
    container(
        stack,
        "loki",
        envs=[f"S3_SECRET_KEY={CANARY}"],
        labels=[{"label": "admin.password", "value": CANARY}],
        command=[f"--api.token={CANARY}"],
    )


@rejected(
    "secrets-are-files",
    "loki: envs.DATABASE holds a login in plain sight",
    "loki: command[0] --password holds a secret in plain sight",
    "loki: healthcheck.tests[1] --token holds a secret in plain sight",
    "loki: healthcheck.tests[3] holds a login in plain sight",
    "loki: uploads[0].content holds admin_password in plain text; make it a Pulumi secret",
    "loki: uploads[0].content holds a login in plain text; make it a Pulumi secret",
)
def secrets_under_other_names(stack: Stack) -> None:
    login = f"postgres://loki:{CANARY}@10.10.1.9/logs"
    container(
        stack,
        "loki",
        envs=[f"DATABASE={login}"],
        command=["--password", CANARY],
        healthcheck={"tests": ["CMD", f"--token={CANARY}", "wget", login]},
        uploads=[{"file": "/etc/loki/more.ini", "content": f"url: {login}\n admin_password = {CANARY}\n"}],
    )


@rejected(
    "secrets-are-files",
    "loki: envs.KEY is a private key in plain sight",
    "loki: envs.MYSQL_PWD holds a secret in plain sight",
    "loki: uploads[0].content is a private key in plain text; make it a Pulumi secret",
)
def a_private_key_in_plain_text(stack: Stack) -> None:
    text = f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}"
    uploads = [{"file": "/etc/loki/key.pem", "content": text}]
    container(stack, "loki", envs=[f"KEY={text}", f"MYSQL_PWD={CANARY}"], uploads=uploads)


@rejected(
    "secrets-are-files",
    "loki: command[0] holds a token in plain sight",
    "loki: envs.CI holds a token in plain sight",
    "loki: envs.JWT holds a secret in plain sight",
    "loki: uploads[0].content holds a token in plain text; make it a Pulumi secret",
)
def a_token_by_its_form(stack: Stack) -> None:
    parts = [f"eyJ{'a' * 12}", f"eyJ{'b' * 20}", "c" * 40]
    signed, hub = ".".join(parts), f"ghp_{'d' * 36}"
    uploads = [{"file": "/etc/loki/ci", "content": f"remote = {hub}\n"}]
    container(stack, "loki", envs=[f"CI={hub}", f"JWT={signed}"], command=[signed], uploads=uploads)


@rejected(
    "backup-keys-apart",
    "grafana: RESTIC_PASSWORD_FILE is a backup key on a service that the public reaches",
)
def a_backup_key_where_the_public_reaches(stack: Stack) -> None:
    container(stack, "grafana", envs=["RESTIC_PASSWORD_FILE=/run/secrets/restic"])


@rejected(
    "backup-keys-apart",
    "loki: /loki/backup-password is a secret inside /loki, so backups hold their own key",
)
def the_backup_password_inside_the_backed_up_folder(stack: Stack) -> None:
    stack.inputs("container", "loki")["uploads"].append({"file": "/loki/backup-password", "content": CANARY})


@rejected("secrets-not-shared", "loki: uploads[4].content is a secret of traefik")
def the_ingresss_key_in_another_zone(stack: Stack) -> None:
    uploads = stack.inputs("container", "traefik")["uploads"]
    (key,) = (u for u in uploads if u["file"].endswith("/key.pem"))
    stack.inputs("container", "loki")["uploads"].append({"file": "/etc/copy.pem", "content": key["content"]})


# ---------------------------------------------------------------------------------------------- flows


@rejected(
    "undeclared-flows",
    "traefik -> docker-srv:*: expected DENIED, got ALLOWED via edge -> docker-srv",
    "traefik -> proxmox-srv:8006/tcp: expected DENIED, got ALLOWED via docker-srv -> internet -> proxmox-srv",
    "traefik -> proxmox-srv:22/tcp: expected DENIED, got ALLOWED via docker-srv -> internet -> proxmox-srv",
    "traefik -> internet:*: expected DENIED, got ALLOWED via docker-srv -> internet",
    "traefik -> management:*: expected DENIED, got ALLOWED via docker-srv -> management",
)
def egress_behind_the_hosts_address_that_its_rules_do_not_bound(stack: Stack) -> None:
    options = stack.inputs("network", "edge")["options"]
    options["com.docker.network.bridge.name"] = "br-other"
    del options["com.docker.network.bridge.enable_ip_masquerade"]


@rejected(
    "undeclared-flows",
    "jellyfin -> stirling-pdf:8080/tcp: expected DENIED, got ALLOWED via vlan20 -> stirling-pdf",
)
def neighbours_of_one_vlan(stack: Stack) -> None:
    _rule(stack, "stirling-pdf")["source"] = "10.10.20.0/24"
    out = {"type": "out", "action": "ACCEPT", "dest": "10.10.20.12", "proto": "tcp", "dport": "8080"}
    stack.inputs("group", "jellyfin")["rules"].append(out)


@rejected(
    "undeclared-flows",
    "promtail -> cadvisor:8080/tcp: expected DENIED, got ALLOWED via backend -> cadvisor",
    "promtail -> loki:3100/tcp: expected DENIED, got ALLOWED via backend -> loki",
    "promtail -> node-exporter:9100/tcp: expected DENIED, got ALLOWED via backend -> node-exporter",
    "prometheus -> promtail:*: expected DENIED, got ALLOWED via backend -> promtail",
    "loki-gateway -> promtail:*: expected DENIED, got ALLOWED via backend -> promtail",
)
def a_container_that_may_take_a_neighbours_address(stack: Stack) -> None:
    stack.inputs("container", "promtail")["capabilities"]["adds"] = ["CAP_NET_RAW"]


@rejected(
    "roles-hold",
    "traefik -> blackbox-exporter:9115/tcp: expected DENIED, got ALLOWED via probe -> blackbox-exporter",
    "traefik -> blackbox-exporter:*: expected DENIED, got ALLOWED via probe -> blackbox-exporter",
    "traefik -> prometheus:9090/tcp: expected DENIED, got ALLOWED via probe -> prometheus",
    "traefik -> prometheus:*: expected DENIED, got ALLOWED via probe -> prometheus",
)
def an_ingress_that_watches_itself(stack: Stack) -> None:
    open_bridges(stack)
    leg(stack, "traefik", "probe")


@rejected(
    "roles-hold",
    "traefik -> loki:3100/tcp: expected DENIED, got ALLOWED via frontend -> loki",
    "internet -> loki:3100/tcp: expected DENIED, got ALLOWED via traefik -> frontend -> loki",
    "management -> loki:3100/tcp: expected DENIED, got ALLOWED via traefik -> frontend -> loki",
    "blackbox-exporter -> loki:3100/tcp: expected DENIED, got ALLOWED via traefik -> frontend -> loki",
    "prometheus -> loki:3100/tcp: expected DENIED, got ALLOWED via traefik -> frontend -> loki",
    "traefik -> loki:*: expected DENIED, got ALLOWED via frontend -> loki",
)
def loki_with_a_router_and_no_authentication(stack: Stack) -> None:
    open_bridges(stack)
    a_router_to_loki(stack)


@rejected(
    "roles-hold",
    "traefik -> loki:*: expected DENIED, got ALLOWED via backend -> loki",
    "traefik -> loki:3100/tcp: expected DENIED, got ALLOWED via backend -> loki",
    "traefik -> loki-gateway:*: expected DENIED, got ALLOWED via backend -> loki-gateway",
    "traefik -> loki-gateway:3100/tcp: expected DENIED, got ALLOWED via backend -> loki-gateway",
    "traefik -> prometheus:*: expected DENIED, got ALLOWED via backend -> prometheus",
    "traefik -> prometheus:9090/tcp: expected DENIED, got ALLOWED via backend -> prometheus",
    "traefik -> node-exporter:*: expected DENIED, got ALLOWED via backend -> node-exporter",
    "traefik -> node-exporter:9100/tcp: expected DENIED, got ALLOWED via backend -> node-exporter",
    "traefik -> cadvisor:*: expected DENIED, got ALLOWED via backend -> cadvisor",
    "traefik -> cadvisor:8080/tcp: expected DENIED, got ALLOWED via backend -> cadvisor",
    "traefik -> promtail:*: expected DENIED, got ALLOWED via backend -> promtail",
)
def the_ingress_on_the_backend_even_if_declared(stack: Stack) -> None:
    declared = load(stack.config)
    flow = Flow.parse("traefik -> loki:3100/tcp")
    stack.topology = declared.model_copy(update={"flows": (*declared.flows, flow)})
    open_bridges(stack)
    leg(stack, "traefik", "backend")


@rejected(
    "unreachable-flows",
    "grafana -> loki-gateway:3100/tcp: expected ALLOWED, got DENIED: "
    "no way: grafana is on frontend, query; loki-gateway is on backend",
)
def a_declared_flow_that_cannot_work(stack: Stack) -> None:
    legs = stack.inputs("container", "loki-gateway")["networksAdvanced"]
    legs[:] = [each for each in legs if each["name"] != "query"]


@rejected(
    "unreachable-flows",
    "traefik -> jellyfin:8096/tcp: expected ALLOWED, got DENIED: jellyfin is not in the stack",
)
def a_declared_flow_to_something_absent(stack: Stack) -> None:
    stack.remove("vm", "jellyfin")


@rejected(
    "assertions-hold",
    "internet -> grafana:3000/tcp: expected DENIED, got ALLOWED via traefik -> frontend -> grafana",
    "grafana -> cadvisor:8080/tcp: expected ALLOWED, got DENIED: "
    "no way: grafana is on frontend, query; cadvisor is on backend",
    "internet -> ghost:80/tcp: is asserted, but one of its ends is not in the stack",
)
def assertions_that_do_not_hold(stack: Stack) -> None:
    stack.topology = load(stack.config).model_copy(
        update={
            "assertions": (
                Assertion(src="internet", deny=("grafana:3000/tcp", "ghost:80/tcp")),
                Assertion(src="grafana", accept=("cadvisor:8080/tcp",)),
            )
        }
    )


# ----------------------------------------------------------------------------------------- exceptions


def _exempt(stack: Stack, rule: str, resource: str, expires: date = date(2027, 1, 1)) -> None:
    exemption = PolicyException(
        rule=rule, resource=resource, reason="a reason to test", owner="me", expires=expires
    )
    stack.topology = load(stack.config).model_copy(update={"exceptions": (exemption,)})


@rejected("exceptions-current", "exception no-devices for cadvisor: expired on 2026-11-22")
def an_exception_that_has_expired(stack: Stack) -> None:
    a_device_of_the_host(stack)
    _exempt(stack, "no-devices", "cadvisor", date(2026, 11, 22))


@rejected("exceptions-used", "exception no-devices for cadvisor: sets nothing aside")
def an_exception_that_nobody_needs(stack: Stack) -> None:
    _exempt(stack, "no-devices", "cadvisor")


@rejected("exceptions-exact", "exception no-devices for *: is a pattern")
def an_exception_for_everything(stack: Stack) -> None:
    _exempt(stack, "no-devices", "*")


@rejected(
    "exceptions-exact",
    "exception known-types for metrics: is for 2 resources of that name "
    "(docker:index/plugin:Plugin and proxmoxve:metrics/server:Server)",
)
def an_exception_that_another_resource_uses(stack: Stack) -> None:
    stack.add("proxmoxve:metrics/server:Server", "metrics", {"server": "10.10.1.9"})
    stack.add("docker:index/plugin:Plugin", "metrics", {"name": "x"})
    _exempt(stack, "known-types", "metrics")


@rejected("exceptions-exact", "exception no-worries for cadvisor: rule no-worries does not exist")
def an_exception_to_no_rule(stack: Stack) -> None:
    _exempt(stack, "no-worries", "cadvisor")


@rejected(
    "undeclared-flows",
    "promtail -> cadvisor:8080/tcp: expected DENIED, got ALLOWED via backend -> cadvisor",
    "promtail -> loki:3100/tcp: expected DENIED, got ALLOWED via backend -> loki",
    "promtail -> node-exporter:9100/tcp: expected DENIED, got ALLOWED via backend -> node-exporter",
    "prometheus -> promtail:*: expected DENIED, got ALLOWED via backend -> promtail",
    "loki-gateway -> promtail:*: expected DENIED, got ALLOWED via backend -> promtail",
)
def an_exception_for_what_forges_addresses(stack: Stack) -> None:
    a_container_that_may_take_a_neighbours_address(stack)
    _exempt(stack, "no-privileges", "promtail")


@rejected("admin-pages-current", "vaultwarden: its admin page ended on 2026-11-22")
def an_admin_page_that_has_ended(stack: Stack) -> None:
    page = {"until": "2026-11-22", "reason": "a reason to test"}
    stack.config["services"]["vaultwarden"]["admin-page"] = page


@rejected("observed-guests-current", "jellyfin: was observed through 2026-11-22, and is open until `make up`")
def a_guest_that_was_to_be_enforced(stack: Stack) -> None:
    stack.config["services"]["jellyfin"]["observed-until"] = "2026-11-22"
    _exempt(stack, "guests-enforced", "jellyfin")


# ------------------------------------------------------------------------------------------- protection


@rejected(
    "data-is-protected",
    "loki-data: can be deleted by any update",
    "vaultwarden: can be deleted by any update",
    "vaultwarden: can be deleted by any update",
    "datacenter: can be deleted by any update",
)
def protection_that_does_not_reach_the_data(stack: Stack) -> None:
    stack.protect(
        ("volume", "loki-data"), ("vm", "vaultwarden"), ("rules", "vaultwarden"), ("datacenter", "datacenter")
    )


# ------------------------------------------------------------------------------------ an ACME server


def _resolver(stack: Stack, **changed: Any) -> None:
    def change(content: Any) -> None:
        content["certificatesResolvers"]["acme"]["acme"].update(changed)

    edit(stack, "traefik", STATIC, change)


@rejected(
    "acme-as-declared",
    "traefik: certificatesresolvers.acme.acme.cacertificates: is not as declared",
    "traefik: certificatesresolvers.acme.acme.caserver: is not as declared",
    "traefik: certificatesresolvers.acme.acme.caservername: is not as declared",
    "traefik: certificatesresolvers.acme.acme.casystemcertpool: is not as declared",
    "traefik: envs.LEGO_CA_CERTIFICATES: is not as declared",
)
def an_acme_server_that_is_not_checked(stack: Stack) -> None:
    turn_to_acme(stack)
    own = {"caServerName": "x", "caSystemCertPool": True, "caCertificates": ["/etc/ssl/any.pem"]}
    _resolver(stack, caServer="http://10.10.1.9/directory", **own)
    stack.inputs("container", "traefik")["envs"].append("LEGO_CA_CERTIFICATES=/etc/ssl/any.pem")


@rejected(
    "acme-as-declared",
    "traefik: certificatesresolvers.acme.acme.dnschallenge.propagation: is not as declared",
    "traefik: certificatesresolvers.acme.acme.httpchallenge: is not as declared",
    "traefik: certificatesresolvers.acme.acme.storage: is not as declared",
    "traefik: certificatesresolvers.other: is not as declared",
    "traefik: entrypoints.websecure.http.tls.domains: is not as declared",
    "traefik: /etc/traefik/dynamic/routes.yml: http.routers.grafana.tls: is not as declared",
)
def a_resolver_that_asks_for_more(stack: Stack) -> None:
    turn_to_acme(stack)
    propagation = {"disableChecks": True}
    challenges = {"dnsChallenge": {"provider": "hetzner", "propagation": propagation}, "httpChallenge": {}}
    _resolver(stack, storage="/tmp/acme.json", **challenges)  # noqa: S108  # a path in the container

    def static(content: Any) -> None:
        content["certificatesResolvers"]["other"] = {"tailscale": {}}
        content["entryPoints"]["websecure"]["http"]["tls"]["domains"] = [{"main": "bank.example"}]

    def routes(content: Any) -> None:
        content["http"]["routers"]["grafana"]["tls"] = {}

    edit(stack, "traefik", STATIC, static)
    edit(stack, "traefik", ROUTES, routes)


@rejected(
    "acme-as-declared",
    "traefik: certificatesresolvers.acme: is not as declared",
    "traefik: entrypoints.websecure.http.tls.certresolver: is not as declared",
)
def an_acme_server_that_nobody_declared(stack: Stack) -> None:
    def static(content: Any) -> None:
        content["certificatesResolvers"] = {"acme": {"acme": {"email": "you@home.example"}}}
        content["entryPoints"]["websecure"]["http"]["tls"] = {"certResolver": "acme"}

    edit(stack, "traefik", STATIC, static)


@rejected(
    "acme-as-declared",
    f"traefik: envs.{LOGIN}: is not as declared",
    f"traefik: envs.{LOGIN}_FILE: is not as declared",
)
def the_login_of_a_dns_provider_in_the_environment(stack: Stack) -> None:
    turn_to_acme(stack)
    container(stack, "traefik", envs=[f"{LOGIN}={CANARY}"])


@rejected(
    "secrets-are-files",
    f"traefik: envs.{LOGIN} holds a secret in plain sight",
)
def the_same_login_as_a_secret_nobody_marked(stack: Stack) -> None:
    turn_to_acme(stack)
    container(stack, "traefik", envs=[f"{LOGIN}={CANARY}"])


@rejected(
    "acme-keys-kept",
    "traefik: mounts no volume at /var/tmp, where keys and certificates are",
    f"traefik: lacks /etc/traefik/acme/{LOGIN}, which the login needs",
)
def nothing_kept_of_what_the_acme_server_signed(stack: Stack) -> None:
    turn_to_acme(stack)
    inputs = stack.inputs("container", "traefik")
    inputs["volumes"] = []
    inputs["uploads"].remove(upload(stack, "traefik", f"/etc/traefik/acme/{LOGIN}"))


@rejected("acme-keys-kept", f"traefik: /etc/traefik/acme/{LOGIN} is no secret")
def the_login_of_a_dns_provider_in_plain_text(stack: Stack) -> None:
    turn_to_acme(stack)
    old = stack.get("container", "traefik")
    stack.resources[stack.resources.index(old)] = replace(old, secrets=frozenset())


@rejected("volumes-not-shared", "traefik: mounts volume traefik-acme, as promtail does")
def the_keys_of_the_ingress_within_anothers_reach(stack: Stack) -> None:
    turn_to_acme(stack)
    own = {"containerPath": "/keys", "volumeName": "traefik-acme"}
    stack.inputs("container", "promtail")["volumes"].append(own)


@rejected("names-are-the-engines", "loki: does not ask every declared name server")
def the_names_of_the_outside_for_the_backend(stack: Stack) -> None:
    container(stack, "loki", dns=None)


@rejected("names-are-the-engines", "traefik: asks a name server of its own")
def the_hosts_name_server_for_the_ingress(stack: Stack) -> None:
    container(stack, "traefik", dns=["127.0.0.53"])


@rejected("names-are-the-engines", "traefik: does not ask every declared name server")
def a_name_server_that_is_not_asked(stack: Stack) -> None:
    turn_to_acme(stack)
    container(stack, "traefik", dns=[])


@rejected("volumes-as-rendered", "wiki-db-db: driverOpts[device]: expected nothing")
def a_volume_that_is_a_folder_of_the_host(stack: Stack) -> None:
    with_words(stack)
    stack.inputs("volume", "wiki-db-db")["driverOpts"] = {"device": "/etc"}


@rejected("volumes-as-rendered", "wiki-db-db: driver: expected `local`")
def a_volume_of_another_driver(stack: Stack) -> None:
    with_words(stack)
    stack.inputs("volume", "wiki-db-db")["driver"] = "sshfs"


@rejected("containers-as-rendered", "wiki: envs[DB_PASS]: expected the secret wiki:db-password")
def a_secret_variable_that_is_left_out(stack: Stack) -> None:
    with_words(stack)
    stack.inputs("container", "wiki")["envs"].pop()


@rejected(
    "names-are-the-engines", "wiki: resolves loki in its own way", "wiki: asks a name server of its own"
)
def names_that_the_stack_file_does_not_declare(stack: Stack) -> None:
    with_words(stack)
    container(stack, "wiki", hosts=[{"host": "loki", "ip": "192.168.20.25"}], dns=["172.30.2.53", "9.9.9.9"])


@rejected("secrets-are-files", "wiki-db: envs[2] is a secret in plain sight")
def a_secret_variable_that_nobody_declared(stack: Stack) -> None:
    with_words(stack)
    stack.inputs("container", "wiki-db")["envs"].append("OTHER=x")
    stack.mark_secret("container", "wiki-db", "envs", 2)


@rejected("volumes-not-shared", "names: mounts volume others_zones, which is not in the stack")
def an_external_volume_that_is_not_declared(stack: Stack) -> None:
    with_words(stack)
    stack.inputs("container", "names")["volumes"][0]["volumeName"] = "others_zones"


@rejected(
    "machine-pages-inside",
    "nas-page: shows the internet the page of nas as nas.homelab.localhost, without a login before it",
)
def a_page_of_a_machine_for_the_internet(stack: Stack) -> None:
    stack.config = machine_pages.keys(audience=["internet"])
    stack.resources = run(stack.config)


@rejected(
    "machine-pages-inside",
    "nas-page: shows the internet the page of nas on port 9443/tcp, without a login before it",
)
def a_page_of_a_machine_as_a_stream_for_the_internet(stack: Stack) -> None:
    stack.config = machine_pages.keys(audience=[], streams=["9443:8080"])
    stack.config["services"]["traefik"]["ports"].append(9443)
    stack.config["flows"].append("internet -> traefik:9443/tcp")
    stack.resources = run(stack.config)


@rejected(
    "volumes-not-shared",
    "cron: writes volume backup-jobs, as backup does",
    "names: mounts volume backup-jobs, as backup does",
)
def a_volume_that_two_write_and_another_reads(stack: Stack) -> None:
    own = {"zones": ["query"], "image": "example/cron:1.0", "volumes": ["jobs:/jobs"]}
    stack.config = words.site(**{"services.cron": own, "services.backup": own})
    stack.resources = run(stack.config)
    mount = {"containerPath": "/x", "volumeName": "backup-jobs", "readOnly": True}
    stack.inputs("container", "names")["volumes"].append(mount)


@rejected("volumes-not-shared", "names: mounts volume grafana-data, as grafana does")
def a_volume_of_an_app_under_another_name(stack: Stack) -> None:
    volumes = {"zones_of_old": {"external": True, "name": "grafana-data"}}
    stack.config = words.site(**{"volumes": volumes, "services.names.volumes": ["zones_of_old:/zones:ro"]})
    stack.resources = run(stack.config)


@rejected(
    "router-rules-installed",
    "router: its rules are not in the stack",
    "router: what restores its rules at boot is not in the stack",
)
def a_router_without_its_rules(stack: Stack) -> None:
    stack.config = over_ssh()


@rejected("router-machine-made", "router: its machine 900 is not in the stack as declared")
def a_router_without_its_machine(stack: Stack) -> None:
    stack.config = as_a_guest()


@rejected(
    "router-machine-as-declared",
    "router: networkDevices[2].vlanId: expected 10",
    "router: networkDevices[4].firewall: expected False",
    "router: initialization.ipConfigs[1].ipv4.address: expected 10.10.1.1/24",
    "router: networkDevices[5].bridge: expected nothing",
    "router: networkDevices[5].disconnected: expected nothing",
    "router: networkDevices[5].enabled: expected nothing",
    "router: networkDevices[5].firewall: expected nothing",
)
def a_router_with_other_cards(stack: Stack) -> None:
    stack.config, stack.resources = as_a_guest(), run(as_a_guest())
    machine = stack.inputs("vm", "router")
    machine["networkDevices"][2]["vlanId"] = 20
    machine["networkDevices"][4]["firewall"] = True
    machine["initialization"]["ipConfigs"][1]["ipv4"]["address"] = "10.10.1.1/8"
    machine["networkDevices"].append({"bridge": "vmbr1"})


def of_another_project(stack: Stack, kind: str, name: str, inputs: dict[str, Any]) -> None:
    stack.add(kind, name, inputs)
    added = stack.resources[-1]
    urn = added.urn.replace("::homelab-network::", "::start-page::")
    stack.resources[-1] = replace(added, urn=urn)


@rejected(
    "other-projects-fill-slots",
    "theirs: docker:index/network:Network is no container, image or volume, and a slot takes nothing else",
    "page: mounts a folder of the host at /logs, and a slot has none",
)
def a_network_and_a_folder_of_another_project(stack: Stack) -> None:
    of_another_project(stack, KINDS["network"], "theirs", {"name": "theirs"})
    logs = {"containerPath": "/logs", "hostPath": "/srv/logs", "readOnly": True}
    of_another_project(stack, KINDS["container"], "page", {"name": "page", "volumes": [logs]})


@rejected("volumes-of-slots", "data: volume theirs may be another service's")
def a_volume_of_another_project(stack: Stack) -> None:
    of_another_project(stack, KINDS["volume"], "data", {"name": "theirs"})
