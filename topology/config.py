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
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

from topology import compose_words, guest_words
from topology.checks import CONTAINERS, Site, check
from topology.fault import ConfigError, Fault, at, nearest, shown
from topology.model import (
    GUEST_KINDS,
    SLOT_KEYS,
    Acme,
    Assertion,
    Certificate,
    Certificates,
    Container,
    DockerHost,
    Flag,
    Flow,
    Guest,
    GuestKind,
    HostName,
    ImageVantage,
    Name,
    NamedVolume,
    PolicyException,
    Prefix,
    ProxmoxHost,
    RouterHost,
    Slot,
    SshVantage,
    Temporary,
    Topology,
    Unencrypted,
    VolumeName,
    Zone,
)
from topology.prefixes import without_host_bits
from topology.stack_file import NAMESPACE, keys_of, located
from topology.words import ENTRY, NUMBERS, WORDS, hint

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
    "a service": (Container, Guest, Slot),
    "a zone": (Zone,),
    "a host": (DockerHost, ProxmoxHost, RouterHost),
    "a vantage": (SshVantage,),
}
"""Entry of a section -> what its keys are read as."""
_SECTIONS: Final = {"services": "a service", "zones": "a zone", "hosts": "a host"}
_TEXT: Final = ("domain", "name-prefix")
Host = DockerHost | ProxmoxHost | RouterHost
_HOSTS: Final[dict[str, type[Host]]] = {"docker": DockerHost, "proxmox": ProxmoxHost, "router": RouterHost}
_ABSENT: Final = object()

T = TypeVar("T")


def from_file(path: Path) -> Topology:
    """Return the topology of `Pulumi.<stack>.yaml`; raises ConfigError, also for a missing or broken file."""
    return read(path)[1]


def read(path: Path) -> tuple[dict[str, Any], Topology]:
    """Return the keys of every namespace and the topology of `Pulumi.<stack>.yaml`; raises ConfigError."""
    keys = keys_of(path)
    try:
        return keys, from_keys(keys)
    except ConfigError as error:
        raise located(error, path) from None


def from_keys(keys: Mapping[str, object]) -> Topology:
    """Return the topology of a stack file's keys; raises ConfigError."""
    faults = [Fault(str(key), "has no namespace", _named(str(key))) for key in keys if ":" not in str(key)]
    for space, _, key in (str(each).partition(":") for each in keys):
        if key in KEYS and space != NAMESPACE and nearest(space.lower(), [NAMESPACE]):
            faults.append(Fault(f"{space}:{key}", "is in another namespace", f"write {NAMESPACE}:{key}"))
    if faults:
        raise ConfigError(faults)
    return load({str(key).partition(":")[2]: value for key, value in keys.items() if _is_ours(key)})


def _named(key: str) -> str:
    if key == NAMESPACE:
        return f"write each key below it like {NAMESPACE}:domain, beside the others"
    known = key if key in KEYS else nearest(key, KEYS)
    where = _below(key)
    return f"write {NAMESPACE}:{known}" if known else where or f"write it like {NAMESPACE}:domain"


def _below(key: str, section: str = "") -> str:
    """Return where a key belongs that is known at another depth; empty if it is known nowhere."""
    if key in KEYS:
        return f"write it as {NAMESPACE}:{key}, beside services"
    found = (one for one, kinds in _OWNERS.items() if any(key in _keys(kind) for kind in kinds))
    owners = [f"{one} of another kind" if one == _SECTIONS.get(section) else one for one in found]
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
        hosts: dict[str, Host] = self.entries(plain, "hosts", self.host)
        if "tls" not in plain and (not hosts or any(isinstance(h, DockerHost) for h in hosts.values())):
            self.wrong("tls", _ABSENT, "tls")
        domain = self.key(HostName, plain, "domain") or "invalid"
        zones: dict[str, Zone] = self.entries(plain, "zones", partial(self.entry, Zone))
        outside = [name for name, zone in zones.items() if zone.is_outside]
        flows: dict[str, Flow | Temporary] = self.items(plain, "flows", Flow, Temporary)
        return Site(
            domain=domain,
            name_prefix=self.key(Prefix, plain, "name-prefix") or "",
            protect=self.key(Flag, plain, "protect") is not False,
            hosts=hosts,
            zones=zones,
            services=self.entries(plain, "services", partial(self.service, domain, outside)),
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
            cut = isinstance(raw, dict) and any(" -> " in key for key in raw)
            written = mapping if mapping and isinstance(raw, dict) and not cut else kind
            if item := self.value(written, raw, path, f"{section}[]"):
                found[path] = item
            else:
                self.unreadable.add(path)
        return found

    def host(self, raw: dict[str, object], path: str, name: str) -> Host | None:
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

    def service(
        self, domain: str, outside: Collection[str], raw: dict[str, object], path: str, name: str
    ) -> Container | Guest | None:
        """Return a slot if the entry has a project, a guest if it has a kind, a VM id, or a zone without an
        image; else a container.
        """
        host = _full(raw.get("host", name), domain)
        for key in ("aliases", "redirects"):
            if isinstance(others := raw.get(key), list):
                raw = {**raw, key: [_full(each, domain) for each in others]}
        pages = raw.get("pages")
        if isinstance(pages, dict):
            raw = {**raw, "pages": {port: _full(each, domain) for port, each in pages.items()}}
        if "project" in raw:
            return self.entry(Slot, self.of_slot(raw, path), path, name, "slot", host=host)
        if "kind" in raw:
            kind = raw["kind"]
            if not isinstance(kind, str) or kind not in {*GuestKind}:
                self.wrong(f"{path}.kind", kind, "service.kind")
                return None
            written = {key: raw[key] for key in raw if key != "kind"}
            word = "" if kind == GuestKind.VM else kind
            return self.entry(GUEST_KINDS[GuestKind(kind)].entry, written, path, name, word, host=host)
        if "vmid" not in raw and raw.get("zone") in outside:
            remedy = f"remove it, and name {raw['zone']} in flows"
            self.note(at(path, "zone"), f"nothing is built in {raw['zone']}, where machines are", remedy)
            return None
        if "vmid" in raw or ("zone" in raw and "image" not in raw):
            return self.entry(Guest, raw, path, name, host=host)
        return self.entry(Container, raw, path, name, host=host)

    def of_slot(self, raw: dict[str, object], path: str) -> dict[str, object]:
        """Return a slot's keys, after noting those of guests and of the container that fills it."""
        for key in raw:
            if key in {"kind", "vmid", "zone", "address"}:
                remedy = (
                    "write zones, and addresses where needed"
                    if key in {"zone", "address"}
                    else "leave it out"
                )
                self.note(at(path, key), "is a guest's, and a slot is for a container of Docker", remedy)
            elif key in _keys(Container) and key not in SLOT_KEYS:
                remedy = "set it in that project, or leave project out"
                self.note(at(path, key), "is for the project that fills the slot to say", remedy)
            elif key not in (*SLOT_KEYS, "name"):
                self.unknown(at(path, key), key, SLOT_KEYS)
        kept = {key: value for key, value in raw.items() if key in (*SLOT_KEYS, "name")}
        return {"zones": [raw["zone"]], **kept} if "zone" in raw else kept

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
            errors = error.errors()
            keys = {detail["loc"][:-1] for detail in errors if detail["loc"][-1:] == ("[key]",)}
            for detail in errors:
                if detail["loc"] not in keys:  # an item below a wrong key is told by that key
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
            keys = [each for each in WORDS if not each.endswith("[]")]
            deep = outer and len(detail["loc"]) > 1
            inner = [each.removeprefix(below) for each in keys if deep and each.startswith(below)]
            if kind is Container and len(detail["loc"]) == 1 and key in compose_words.REFUSED:
                self.note(path, *compose_words.refusal(key, raw))
            elif issubclass(kind, Guest) and len(detail["loc"]) == 1 and key in guest_words.REFUSED:
                self.note(path, *guest_words.REFUSED[key])
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
        except (TypeError, ValueError, RecursionError) as error:
            path = _strange(value, at("", key)) if isinstance(error, TypeError) else at("", key)
            self.note(path, "holds more than text, numbers, lists and mappings", "write it as plain YAML")
            return _ABSENT

    def wrong(self, path: str, raw: object, word: str) -> None:
        """Note that a value is missing, encrypted, or of the wrong kind."""
        noun, remedy = WORDS.get(word, ENTRY)
        if word == ".prefix" and (network := without_host_bits(raw)):
            noun, remedy = "a prefix: it has host bits set", f"write {network}"
        if word in NUMBERS and isinstance(raw, str) and raw.isdecimal():
            remedy = "write it without quotes"
        if _is_encrypted(raw):
            self.note(path, "is encrypted", f"nothing in {NAMESPACE} is a secret: name a file that holds it")
        elif raw is _ABSENT:
            self.note(path, f"{noun} is missing", remedy)
        elif other := hint(word, raw):
            self.note(path, *other)
        else:
            hidden = isinstance(raw, str | float) and word.startswith(compose_words.HIDDEN)
            self.note(path, f"{'this text' if hidden else shown(raw)} is not {noun}", remedy)

    def unknown(self, path: str, key: str, known: Iterable[str]) -> None:
        """Note an unknown key, and suggest the depth where it is known, or the nearest known one."""
        near = nearest(key, known)
        instead = f"write {near}" if near else f"use one of {', '.join(known)}"
        number = near and near.rstrip("s") == key.rstrip("s")  # zone and zones are each known somewhere
        self.note(path, "unknown key", instead if number else _below(key, path.partition(".")[0]) or instead)

    def note(self, path: str, fault: str, remedy: str) -> None:
        """Note a fault unless it is noted already."""
        self._noted[Fault(path, fault, remedy)] = None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a kind, built once for all entries."""
    return TypeAdapter(kind)


def _full(host: object, domain: str) -> object:
    """Return a host name with the domain appended where it has no dot; anything else, as a URL, as it is."""
    return f"{host}.{domain}" if isinstance(host, str) and not set(host) & set("./:") else host


def _keys(kind: Any) -> list[str]:
    return [str(field.validation_alias) for name, field in kind.model_fields.items() if name != "name"]


def _strange(value: object, path: str) -> str:
    """Return the path of the first part that is none of YAML's plain values."""
    parts: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict):
        parts = ((at(path, str(key)), each) for key, each in value.items())
    elif isinstance(value, list):
        parts = ((f"{path}[{index}]", each) for index, each in enumerate(value))
    for inner, each in parts:
        try:
            json.dumps(each, default=_date)
        except TypeError:
            return _strange(each, inner)
    return path


def _is_encrypted(raw: object) -> bool:
    return isinstance(raw, dict) and raw.keys() == {"secure"}


def _date(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError
