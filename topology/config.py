"""Reads a stack file's `homelab-network:*` keys into one checked `Topology`.

This module checks keys, types and bounds, and words the messages about them; `topology.checks` checks how the
parts fit together. The checks run on every part that could be read, so one run reports all faults, each once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from functools import cache, partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

from topology import compose_words
from topology.checks import CONTAINERS, Site, check
from topology.fault import ConfigError, Fault, at, nearest, shown
from topology.model import (
    Acme,
    App,
    Assertion,
    Certificate,
    Certificates,
    Container,
    DockerHost,
    Feature,
    Flag,
    Flow,
    Guest,
    GuestApp,
    HostName,
    ImageVantage,
    Login,
    LxcGuest,
    Name,
    NamedVolume,
    OsType,
    PolicyException,
    Prefix,
    ProxmoxHost,
    Role,
    SshVantage,
    Temporary,
    Topology,
    Unencrypted,
    VolumeName,
    Zone,
)
from topology.stack_file import NAMESPACE, keys_of, located

__all__ = ["NAMESPACE", "ConfigError", "Fault", "from_file", "from_pulumi_json", "keys_of", "load"]

REQUIRED: Final = ("domain", "hosts", "zones", "services", "flows")
KEYS: Final = (
    *REQUIRED,
    "tls",
    "name-prefix",
    "protect",
    "volumes",
    "certificates",
    "unencrypted",
    "exceptions",
    "assertions",
    "vantages",
)
RENAMED: Final[dict[str, dict[str, str]]] = {
    "": {"plain": "unencrypted"},
    "services": {"vm": "vmid", "authority": "ca-file"},
    "tls.acme": {"authority": "ca-file"},
    "vantages": {"front": "docker-host-address"},
}
"""Former keys and their present names, by section; an entry under its former key is still checked."""
_OWNERS: Final[Mapping[str, tuple[Any, ...]]] = {
    "a service": (Container, Guest),
    "a zone": (Zone,),
    "a host": (DockerHost, ProxmoxHost),
    "a vantage": (SshVantage,),
}
"""Entry of a section -> what its keys are read as."""
_SECTIONS: Final = {"services": "a service", "zones": "a zone", "hosts": "a host"}
_TEXT: Final = ("domain", "name-prefix")
_HOSTS: Final[dict[str, type[DockerHost | ProxmoxHost]]] = {"docker": DockerHost, "proxmox": ProxmoxHost}
_GUESTS: Final[dict[str, type[Guest]]] = {"vm": Guest, "lxc": LxcGuest}
_ABSENT: Final = object()
_ENTRY: Final = ("a mapping", "write its keys below it")
WORDS: Final[dict[str, tuple[str, str]]] = {
    "domain": ("a domain", "write it in lower case like homelab.example"),
    "name-prefix": (
        "a prefix of names",
        "use at most 20 lower-case letters, digits and hyphens, a letter first",
    ),
    "protect": ("true or false", "write true, or false for a stack whose data may go with it"),
    "name": ("a name", "use at most 63 lower-case letters, digits and single hyphens, a letter first"),
    "hosts": ("a mapping of hosts", "name one of kind docker, one of kind proxmox, or both below it"),
    "zones": ("a mapping of zones", "write one below it like edge: {role: edge, prefix: 172.30.0.0/24}"),
    "services": ("a mapping of services", "write one below it, with its zones, ports and image"),
    "flows": ("a list of flows", "write one below it like - internet -> traefik:443/tcp"),
    "exceptions": ("a list of exceptions", "write each with rule, resource, reason, owner and expires"),
    "assertions": ("a list of assertions", "write each with src and accept or deny"),
    "tls": ("a mapping with certificate and key", "name both files, or write acme below it"),
    "tls.certificate": ("a file path", "name the file with the certificate chain"),
    "tls.key": ("a file path", "name the file with the private key"),
    "tls.acme": ("a mapping with email and name-servers", "write its keys below it, and no file beside it"),
    "acme": ("a mapping with email and name-servers", "write its keys below it"),
    "acme.email": ("an e-mail address", "write the one that the ACME server may write to"),
    "acme.server": ("an https URL with a host name", "write the ACME server's directory"),
    "acme.challenge": ("a challenge", "write http, or the DNS provider as lego calls it, like hetzner"),
    "acme.credentials": ("a list of variables", "write it like [HETZNER_API_TOKEN]"),
    "acme.credentials[]": ("a variable", "write it as lego does, like HETZNER_API_TOKEN"),
    "acme.ca-file": ("a file path", "name the PEM file that the server's certificate is checked with"),
    "acme.name-servers": ("a list of addresses", "write it like [9.9.9.9]"),
    "acme.name-servers[]": ("an IPv4 address", "write it like 9.9.9.9"),
    "vantages": ("a mapping of vantages", "write one below it like internet: {ssh: probe@203.0.113.9, …}"),
    "vantage": ("a vantage", "give it ssh and host-key"),
    "vantage.ssh": ("a user and a host", "write it like probe@203.0.113.9"),
    "vantage.host-key": ("a public host key", "write it as known_hosts does, like ssh-ed25519 AAAA"),
    "vantage.docker-host-address": ("an IPv4 address", "write the one at which it finds Docker-SRV"),
    "containers": ("a vantage", "give it an image"),
    "containers.image": ("an image reference", "name one with Python 3.11 or newer, like python:3.13-slim"),
    "certificates": ("a mapping", "write authorities, signer, days or renew below it"),
    "unencrypted": ("a list of flows without TLS", "write each with flow and reason"),
    "flows[]": ("a flow", "write it like traefik -> grafana:3000/tcp, its port 1-65535"),
    "flows[].flow": ("a flow", "write it like site-1 -> internet:443/tcp, its port 1-65535"),
    "flows[].until": ("a date", "write it like 2027-01-31"),
    "flows[].reason": ("a reason", "say in at least ten characters what the flow is for"),
    ".kind": ("a kind of host", "use docker or proxmox"),
    "service.kind": ("a kind of guest", "write vm or lxc, and nothing for a container of Docker"),
    ".address": ("an IPv4 address", "write it like 10.10.10.11"),
    ".addresses": ("a mapping of zones to addresses", "write it like {backend: 172.30.3.20}"),
    ".addresses.{}": ("an IPv4 address", "write it like 172.30.3.20"),
    ".trunk": ("an interface name", "use at most 10 characters like ens18, which leaves room for a VLAN tag"),
    ".data-root": ("an absolute path", "write it like /var/lib/docker"),
    ".metrics": ("an absolute path", "write it like /var/lib/homelab-network/metrics"),
    ".probe-every": ("a length of time", "write it like 30s, 5m or 1h, at most a day"),
    ".verify-every": ("a length of time", "write it like 30s, 5m or 1h, at most a day"),
    ".project": ("an absolute path", "write it like /opt/homelab-network"),
    ".closed": ("true or false", "write true where its own rules close it to the outside"),
    ".trusted-proxies": ("a list of prefixes", "write it like [10.10.1.5/32]"),
    ".trusted-proxies[]": ("an IPv4 prefix", "write it like 10.10.1.5/32"),
    ".ssh": ("a mapping with address, user and host-key", "write its keys below it"),
    ".ssh.address": ("an address or host name", "write it in lower case like docker-srv.lan"),
    ".ssh.user": ("a user name", "write it like root"),
    ".ssh.host-key": ("a public host key", "write it as known_hosts does, like ssh-ed25519 AAAA"),
    ".node": ("a Proxmox node name", "write it like pve1"),
    ".bridge": ("an interface name", "use at most 10 characters like vmbr1"),
    ".existing-bridge": ("true or false", "write true where the node has the bridge already"),
    ".uplink": ("a network port", "use at most 15 characters like enp3s0"),
    ".storage": ("a storage name", "write it like local-lvm"),
    ".snippets": ("a storage name", "write it like local"),
    ".name-servers": ("a list of addresses", "write it like [9.9.9.9]"),
    ".name-servers[]": ("an IPv4 address", "write it like 9.9.9.9"),
    ".authorized-keys": ("a list of public keys", "write it like [ssh-ed25519 AAAA you]"),
    ".authorized-keys[]": ("a public key", "write it as authorized_keys does, like ssh-ed25519 AAAA you"),
    ".template": ("a VM id", "use 100-999999999"),
    ".ports": ("a list of ports", "write it like [80, 53/udp]"),
    ".ports[]": ("a port", "use 1-65535, with /udp behind it where it is not TCP"),
    ".role": ("a role", f"use one of {', '.join(Role)}"),
    ".prefix": ("an IPv4 prefix", "write it like 10.10.10.0/24"),
    ".vlan": ("a VLAN tag", "use 1-4094"),
    ".ingress": ("an IPv4 address", "write it like 10.10.10.2"),
    ".zone": ("a zone", "name the one VLAN zone that the guest sits on"),
    ".zones": ("a list of zones", "write it like [frontend, query]"),
    ".zones[]": ("a zone", "write its name"),
    ".host": ("a host name", "write it in lower case like grafana or grafana.homelab.example"),
    ".aliases": ("a list of host names", "write it in lower case like [www.site-1.homelab.example]"),
    ".aliases[]": ("a host name", "write it in lower case like www or www.site-1.homelab.example"),
    ".login": ("a kind of login", f"use {', '.join(Login)}, or leave it out"),
    ".audience": ("a list of who may use the route", "write it like [internet] or [management]"),
    ".audience[]": ("a name", "write internet or the name of a management or external zone"),
    ".memory": ("an amount of memory in MiB", "use 16-1048576"),
    ".image": ("an image reference", "write it like grafana/grafana:12.1.0"),
    ".app": ("an app", f"use one of {', '.join(App)}, for a guest {', '.join(GuestApp)}, or leave it out"),
    ".ca-file": ("a file path", "name the PEM file of whoever signed its certificate"),
    ".user": ("a user and a group by number", "write it like 1000:1000"),
    ".files": ("a mapping of files", "write each like /etc/grafana/ldap.toml: the file's text"),
    ".files.{}": ("a text", "write the file's text below |"),
    ".arguments": ("a list of arguments", "write it like [--log.level=warn]"),
    ".arguments[]": ("an argument", "write it on one line and in quotes, without @ before it"),
    ".vmid": ("a VM id", "use 100-999999999"),
    ".ostemplate": (
        "a template of containers",
        "write it like local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
    ),
    ".ostype": ("a distribution", f"use one of {', '.join(OsType)}, or leave it out"),
    ".unprivileged": ("true or false", "leave it out, or write false and declare an exception"),
    ".features": ("a list of features", "write it like [nesting]"),
    ".features[]": ("a feature", f"use one of {', '.join(Feature)}"),
    ".volumes": ("a list of volumes", "write each like - {path: /var/lib/photos, size: 20}"),
    ".volumes[]": ("a volume", "give it path, and size or host-path"),
    ".volumes[].path": ("an absolute path", "name a folder of the container like /var/lib/photos"),
    ".volumes[].size": ("a volume's size in GiB", "use 1-131072"),
    ".volumes[].storage": ("a storage name", "write it like local-lvm"),
    ".volumes[].host-path": ("an absolute path", "name a folder of the node like /srv/media"),
    ".volumes[].writable": ("true or false", "leave it out, or write true where the guest may write there"),
    ".devices": ("a list of devices", "write it like [/dev/dri/renderD128]"),
    ".devices[]": ("a device", "write it like /dev/dri/renderD128"),
    ".admin-page": ("a mapping with until and reason", "write both below it"),
    ".until": ("a date", "write it like 2027-01-31"),
    ".cores": ("a number of cores", "use 1-512"),
    ".disk": ("a disk size in GiB", "use 1-131072"),
    ".authorities": ("a list of names", "write it like [a], or [a, b] while b replaces a"),
    ".authorities[]": ("a name", "use lower-case letters, digits and hyphens, a letter first"),
    ".signer": ("a name", "write the one of authorities that signs"),
    ".days": ("a number of days", "use 2-90"),
    ".renew": ("a number of days", "use at least 1 and fewer than days"),
    ".flow": ("a flow", "write it like prometheus -> cadvisor:8080/tcp"),
    ".rule": ("a rule name", "write it like no-public-backend"),
    ".resource": ("a resource name", "name the one resource that is excepted"),
    ".reason": ("a reason", "say in at least ten characters why it must be"),
    ".owner": ("an owner", "name who answers for it"),
    ".expires": ("a date", "write it like 2027-01-31"),
    ".src": ("a source", "name a service, a management or external zone, or internet"),
    ".directly": ("true or false", "write true where only the source's own packets count"),
    ".accept": ("a list of destinations", "write it like [grafana:3000/tcp]"),
    ".accept[]": ("a destination", "write it like grafana:3000/tcp"),
    ".deny": ("a list of destinations", "write it like [loki:3100/tcp]"),
    ".deny[]": ("a destination", "write it like loki:3100/tcp"),
    **compose_words.WORDS,
}
"""Description and remedy of each key; `[]` marks a list item, `{}` a mapping's item, a leading dot a key of
an entry.
"""

_NUMBERS: Final = (
    *(".template", ".vlan", ".vmid", ".memory", ".cores", ".disk", ".days", ".renew"),
    ".volumes[].size",
)

T = TypeVar("T")


def from_file(path: Path) -> Topology:
    """Return the topology of `Pulumi.<stack>.yaml`; raises ConfigError, also for a missing or broken file."""
    keys = keys_of(path)
    try:
        return from_keys(keys)
    except ConfigError as error:
        raise located(error, path) from None


def from_keys(keys: Mapping[str, object]) -> Topology:
    """Return the topology of a stack file's keys; raises ConfigError."""
    if bare := [str(key) for key in keys if ":" not in str(key)]:
        raise ConfigError(Fault(key, "has no namespace", _named(key)) for key in bare)
    return load({str(key).partition(":")[2]: value for key, value in keys.items() if _is_ours(key)})


def _named(key: str) -> str:
    if key == NAMESPACE:
        return f"write each key below it like {NAMESPACE}:domain, beside the others"
    known = key if key in KEYS else nearest(key, KEYS)
    where = _below(key)
    return f"write {NAMESPACE}:{known}" if known else where or f"write it like {NAMESPACE}:domain"


def _below(key: str) -> str:
    """Return where a key belongs that is known at another depth; empty if it is known nowhere."""
    if key in KEYS:
        return f"write it as {NAMESPACE}:{key}, beside services"
    owners = [one for one, kinds in _OWNERS.items() if any(key in _keys(kind) for kind in kinds)]
    return f"it is a key of {' or '.join(owners)}: indent it below the one that it is for" if owners else ""


def from_pulumi_json(config: Mapping[str, str], secret_keys: Collection[str] = ()) -> Topology:
    """Return the topology of the engine's flat map from `homelab-network:zones` to JSON text.

    Raises ConfigError. A key among `secret_keys` is rejected unread, because the engine passes it decrypted.
    """
    values: dict[str, object] = {}
    for key, text in filter(lambda item: _is_ours(item[0]), config.items()):
        name = key.partition(":")[2]
        values[name] = {"secure": ""} if key in secret_keys else text if name in _TEXT else _parsed(text)
    return load(values)


def load(values: Mapping[str, object]) -> Topology:
    """Return the topology of parsed keys without their namespace; raises ConfigError with every fault."""
    reader = _Reader()
    site = reader.site(values)
    faults = [*reader.faults, *check(site)]
    if faults:
        raise ConfigError(faults)
    return site.topology()


def _is_ours(key: object) -> bool:
    return str(key).partition(":")[0] == NAMESPACE


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class _Reader:
    """Converts plain data to values and collects the faults of what it can't convert."""

    def __init__(self) -> None:
        self._noted: dict[Fault, None] = {}
        self.unreadable: set[str] = set()

    @property
    def faults(self) -> list[Fault]:
        """Every fault noted so far, each once: one value can violate two constraints."""
        return [*self._noted]

    def site(self, values: Mapping[str, object]) -> Site:
        """Return everything that can be read, key by key."""
        plain = self.renamed({str(key): self.plain(str(key), value) for key, value in values.items()}, "", "")
        unknown = [key for key in plain if key not in KEYS]
        for key in unknown:
            self.unknown(at("", key), key, KEYS)
        meant = {nearest(key, KEYS) for key in unknown}
        for key in REQUIRED:
            if key not in plain and key not in meant:
                self.wrong(key, _ABSENT, key)
        hosts: dict[str, DockerHost | ProxmoxHost] = self.entries(plain, "hosts", self.host)
        if "tls" not in plain and (not hosts or any(isinstance(h, DockerHost) for h in hosts.values())):
            self.wrong("tls", _ABSENT, "tls")
        domain = self.key(HostName, plain, "domain") or "invalid"
        flows: dict[str, Flow | Temporary] = self.items(plain, "flows", Flow, Temporary)
        return Site(
            domain=domain,
            name_prefix=self.key(Prefix, plain, "name-prefix") or "",
            protect=self.key(Flag, plain, "protect") is not False,
            hosts=hosts,
            zones=self.entries(plain, "zones", partial(self.entry, Zone)),
            services=self.entries(plain, "services", partial(self.service, domain)),
            volumes=self.key(dict[VolumeName, NamedVolume], plain, "volumes") or {},
            flows={path: each.flow if isinstance(each, Temporary) else each for path, each in flows.items()},
            temporary=tuple(each for each in flows.values() if isinstance(each, Temporary)),
            tls=self.tls(plain),
            certificates=self.key(Certificates, plain, "certificates") or Certificates(),
            unencrypted=self.items(plain, "unencrypted", Unencrypted),
            exceptions=self.items(plain, "exceptions", PolicyException),
            assertions=self.items(plain, "assertions", Assertion),
            vantages=self.entries(plain, "vantages", self.vantage) if "vantages" in plain else {},
            unreadable=frozenset(self.unreadable),
        )

    def entries(
        self,
        plain: Mapping[str, object],
        section: str,
        read: Callable[[dict[str, object], str, str], T | None],
    ) -> dict[str, T]:
        """Return a section's entries by name; `read` gets each entry's raw mapping, path and name."""
        found = {}
        for name, written in self.container(plain, section, dict).items():
            path = at(section, name)
            raw = self.renamed(written, section, path)
            named = self.value(Name, name, path, "name")
            owner = _SECTIONS.get(section, "")
            if not isinstance(raw, dict) and any(name in _keys(kind) for kind in _OWNERS.get(owner, ())):
                self.note(
                    path, f"is a key of {owner}, at the wrong depth", f"indent it below its {section[:-1]}"
                )
                self.unreadable.add(path)
                continue
            entry = read(raw, path, named or "unreadable") if self.is_mapping(raw, path) else None
            if named and entry:
                found[name] = entry
            else:
                self.unreadable.add(path)
        return found

    def items(
        self, plain: Mapping[str, object], section: str, kind: Any, mapping: Any = None
    ) -> dict[str, Any]:
        """Return a section's items by path; `mapping` is the kind of an item that is written as a mapping."""
        found = {}
        for index, raw in enumerate(self.container(plain, section, list)):
            path = f"{section}[{index}]"
            written = mapping if mapping and isinstance(raw, dict) else kind
            if item := self.value(written, raw, path, f"{section}[]"):
                found[path] = item
            else:
                self.unreadable.add(path)
        return found

    def host(self, raw: dict[str, object], path: str, name: str) -> DockerHost | ProxmoxHost | None:
        """Return the host, of the class that its `kind` selects."""
        kind = raw.get("kind", _ABSENT)
        if not isinstance(kind, str) or kind not in _HOSTS:
            self.wrong(f"{path}.kind", kind, ".kind")
            return None
        return self.entry(_HOSTS[kind], {key: raw[key] for key in raw if key != "kind"}, path, name)

    def tls(self, plain: Mapping[str, object]) -> Certificate | Acme | None:
        """Return the ingress's certificate files, or its ACME settings."""
        raw = plain.get("tls")
        if not isinstance(raw, dict) or "acme" not in raw:
            files: Certificate | None = self.key(Certificate, plain, "tls")
            return files
        for key in raw:
            if key != "acme":
                self.note(at("tls", key), "stands beside acme", "keep one of them")
        given = self.renamed(raw["acme"], "tls.acme", "tls.acme")
        acme: Acme | None = self.value(Acme, given, "tls.acme", "acme")
        return acme

    def service(self, domain: str, raw: dict[str, object], path: str, name: str) -> Container | Guest | None:
        """Return a guest if the entry has a kind, a VM id, or a zone without an image; else a container."""
        host = _full(raw.get("host", name), domain)
        others = raw.get("aliases")
        if isinstance(others, list):
            raw = {**raw, "aliases": [_full(each, domain) for each in others]}
        if "kind" in raw:
            kind = raw["kind"]
            if not isinstance(kind, str) or kind not in _GUESTS:
                self.wrong(f"{path}.kind", kind, "service.kind")
                return None
            written = {key: raw[key] for key in raw if key != "kind"}
            return self.entry(_GUESTS[kind], written, path, name, host=host)
        if "vmid" in raw or ("zone" in raw and "image" not in raw):
            return self.entry(Guest, raw, path, name, host=host)
        return self.entry(Container, raw, path, name, host=host)

    def vantage(self, raw: dict[str, object], path: str, name: str) -> SshVantage | ImageVantage | None:
        """Return the image vantage for `containers`, else the SSH vantage named after its source."""
        if name == CONTAINERS:
            return self.entry(ImageVantage, raw, path, name, CONTAINERS)
        return self.entry(SshVantage, raw, path, name, "vantage")

    def entry(
        self, kind: type[T], raw: dict[str, object], path: str, name: str, word: str = "", **implied: object
    ) -> T | None:
        """Return one entry of a mapping. Its name is its key in the mapping, never a value inside it."""
        if "name" in raw:
            self.unknown(f"{path}.name", "name", _keys(kind))
        value: T | None = self.value(kind, raw, path, word, {"name": name, **implied})
        return value

    def key(self, kind: Any, plain: Mapping[str, object], key: str) -> Any:
        """Return the value of a top-level key; None where it is absent or unreadable."""
        return self.value(kind, plain[key], key, key) if plain.get(key, _ABSENT) is not _ABSENT else None

    def value(
        self, kind: Any, raw: object, path: str, word: str, implied: Mapping[str, object] | None = None
    ) -> Any:
        """Return `raw` as a value of `kind`, or None after noting its faults; `word` is its key in WORDS."""
        if _is_encrypted(raw):
            self.wrong(path, raw, word)
            return None
        whole = {**cast("dict[str, object]", raw), **implied} if implied else raw
        try:
            return _adapter(kind).validate_json(json.dumps(whole), strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            for detail in error.errors():
                self.tell(detail, kind, raw, path, word)
            return None

    def tell(self, detail: ErrorDetails, kind: Any, raw: object, path: str, word: str) -> None:
        """Note one of pydantic's errors in the project's words, at the deepest path in the file."""
        outer, above = word, (path, word)
        for step in detail["loc"]:
            if step == "[key]":  # a name in a mapping, which stands for the mapping's item before
                (path, word), raw = above, detail["loc"][-2]
                word = f"{word}.[key]"
            elif isinstance(raw, dict):
                above = path, word
                near = "volume" if word == "volumes.{}" else word
                outer, words = near, (f"{near}.{step}", f"{near}.{{}}", f".{step}")
                word = next((each for each in words if each in WORDS), f".{step}")
                path, raw = at(path, str(step)), raw.get(str(step), _ABSENT)
            elif isinstance(raw, list) and isinstance(step, int):
                path, word, raw = f"{path}[{step}]", f"{word}[]", raw[step]
            elif isinstance(raw, list):  # of name=text, which is read as a mapping
                place = next((i for i, each in enumerate(raw) if re.split("[=:]", f"{each}")[0] == step), 0)
                path, word, raw = f"{path}[{place}]", f"{word}.{{}}", raw[place]
        if detail["type"] == "extra_forbidden":
            key, below = str(detail["loc"][-1]), f"{outer}."
            inner = [each.removeprefix(below) for each in WORDS if outer and each.startswith(below)]
            if kind is Container and len(detail["loc"]) == 1 and key in compose_words.REFUSED:
                self.note(path, *compose_words.REFUSED[key])
            else:
                self.unknown(path, key, inner or _keys(kind))
        else:
            self.wrong(path, raw, word)

    def container(self, plain: Mapping[str, object], key: str, kind: type[T]) -> T:
        """Return the mapping or list below a top-level key; an empty one where there is none."""
        raw = plain.get(key, _ABSENT)
        if isinstance(raw, kind) and not _is_encrypted(raw):
            return raw
        if raw is not _ABSENT:
            self.wrong(key, raw, key)
        if raw is not _ABSENT or key in REQUIRED:
            self.unreadable.add(key)  # another key that is left out holds nothing
        return kind()

    def renamed(self, raw: Any, section: str, path: str) -> Any:
        """Return a mapping with each former key under its present name, after noting it."""
        present = RENAMED.get(section, {})
        if not isinstance(raw, dict):
            return raw
        for key in raw:
            if key in present:
                self.note(at(path, key), "unknown key", f"it is called {present[key]} now")
        return {present.get(key, key): value for key, value in raw.items()}

    def is_mapping(self, raw: object, path: str) -> bool:
        """Whether `raw` is a mapping; notes a fault where it is not."""
        if isinstance(raw, dict) and not _is_encrypted(raw):
            return True
        self.wrong(path, raw, "")
        return False

    def plain(self, key: str, value: object) -> object:
        """Return `value` as JSON decodes it, so that a stack file and the engine's values read alike."""
        try:
            return from_json(json.dumps(value, default=_date, allow_nan=False, ensure_ascii=False).encode())
        except (TypeError, ValueError, RecursionError):
            self.note(
                at("", key), "holds more than text, numbers, lists and mappings", "write it as plain YAML"
            )
            return _ABSENT

    def wrong(self, path: str, raw: object, word: str) -> None:
        """Note that a value is missing, encrypted, or of the wrong kind."""
        noun, remedy = WORDS.get(word, _ENTRY)
        if word == ".prefix" and (network := _network(raw)):
            noun, remedy = "a prefix: it has host bits set", f"write {network}"
        if word in _NUMBERS and isinstance(raw, str) and raw.isdecimal():
            remedy = "write it without quotes"
        if _is_encrypted(raw):
            self.note(path, "is encrypted", f"nothing in {NAMESPACE} is a secret: name a file that holds it")
        elif raw is _ABSENT:
            self.note(path, f"{noun} is missing", remedy)
        elif other := compose_words.hint(word, raw):
            self.note(path, *other)
        else:
            hidden = isinstance(raw, str | float) and word.startswith(compose_words.HIDDEN)
            self.note(path, f"{'this text' if hidden else shown(raw)} is not {noun}", remedy)

    def unknown(self, path: str, key: str, known: Iterable[str]) -> None:
        """Note an unknown key, and suggest the depth where it is known, or the nearest known one."""
        near = nearest(key, known)
        instead = f"write {near}" if near else f"use one of {', '.join(known)}"
        self.note(path, "unknown key", _below(key) or instead)

    def note(self, path: str, fault: str, remedy: str) -> None:
        """Note a fault unless it is noted already."""
        self._noted[Fault(path, fault, remedy)] = None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a kind, built once for all entries."""
    return TypeAdapter(kind)


def _full(host: object, domain: str) -> object:
    """Return a host name with the domain appended where it has no dot; anything else as it is."""
    return f"{host}.{domain}" if isinstance(host, str) and "." not in host else host


def _keys(kind: Any) -> list[str]:
    return [str(field.validation_alias) for name, field in kind.model_fields.items() if name != "name"]


def _network(raw: object) -> IPv4Network | None:
    try:
        return IPv4Network(raw, strict=False) if isinstance(raw, str) else None
    except ValueError:
        return None


def _is_encrypted(raw: object) -> bool:
    return isinstance(raw, dict) and raw.keys() == {"secure"}


def _date(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError
