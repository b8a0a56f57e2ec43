"""Generates the JSON Schemas in docs/: of stack files, for editors, and of the stack's outputs.

`python -m commands schema` writes both files. Note: a file that fits the schema can still be invalid, because
only `topology.config` checks how its parts fit together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from topology.checks import CONTAINERS
from topology.config import KEYS, NAMESPACE, REQUIRED
from topology.model import (
    APPS,
    GUEST_APPS,
    GUEST_KINDS,
    ROLES,
    SLOT_KEYS,
    Acme,
    App,
    Assertion,
    Certificate,
    Certificates,
    Container,
    DockerHost,
    FileServer,
    Flag,
    Flow,
    Guest,
    GuestApp,
    Healthcheck,
    HostName,
    ImageVantage,
    Mount,
    MountPoint,
    Name,
    NamedVolume,
    PolicyException,
    Port,
    Prefix,
    ProxmoxHost,
    Role,
    RouterGuest,
    RouterHost,
    RouterInterface,
    RouterLeg,
    RouterWan,
    Slot,
    Ssh,
    SshVantage,
    Temporary,
    Unencrypted,
    Value,
    VolumeName,
    Zone,
)
from topology.outputs import Outputs
from topology.words import WORDS

Schema = dict[str, Any]

_DIALECT: Final = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
_PORT: Final = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": "^[0-9]{1,5}(/(tcp|udp))?$"},
    ]
}
_FLOW: Final = {"type": "string", "pattern": "^\\S+ -> \\S+:[0-9]{1,5}(/(tcp|udp))?$"}
_MOUNT: Final = {"type": "string", "pattern": "^[^:]+:/[^:]*(:(ro|rw))?$"}
_WRITTEN: Final[Mapping[type, Schema]] = {Port: _PORT, Flow: _FLOW}
_ENTRIES: Final[tuple[type[Value], ...]] = (
    DockerHost,
    ProxmoxHost,
    RouterHost,
    RouterGuest,
    RouterLeg,
    RouterWan,
    Zone,
    Container,
    Slot,
    Mount,
    Healthcheck,
    NamedVolume,
    FileServer,
    *(traits.entry for traits in GUEST_KINDS.values()),
    MountPoint,
    Ssh,
    Certificate,
    Acme,
    Certificates,
    Unencrypted,
    Temporary,
    PolicyException,
    Assertion,
    SshVantage,
    ImageVantage,
)
_BELOW: Final = {
    MountPoint: "lxc.volumes[].",
    RouterGuest: ".guest.",
    RouterLeg: ".legs.{}.",
    RouterWan: ".wan.",
    Ssh: ".ssh.",
    Certificate: "tls.",
    Acme: "acme.",
    Temporary: "flows[].",
    Healthcheck: ".healthcheck.",
    Slot: "slot.",
    Mount: ".volumes[].",
    NamedVolume: "volume.",
    FileServer: "volume.driver_opts.",
    SshVantage: "vantage.",
    ImageVantage: f"{CONTAINERS}.",
}
_IS_GUEST: Final = {
    "anyOf": [
        {"required": ["kind"]},
        {"required": ["vmid"]},
        {"required": ["zone"], "not": {"required": ["image"]}},
    ]
}


class _AsWritten(GenerateJsonSchema):
    """Schema generator that represents ports and flows as text, as YAML does."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        return dict(_WRITTEN[cls]) if (cls := schema["cls"]) in _WRITTEN else super().model_schema(schema)

    def encode_default(self, dft: Any) -> Any:
        return [str(each) for each in dft] if isinstance(dft, tuple) else super().encode_default(dft)


def outputs() -> Schema:
    """Return the schema of `pulumi stack output --json`; it permits further keys, which may be added."""
    return {**_DIALECT, **TypeAdapter(Outputs).json_schema()}


def configuration() -> Schema:
    """Return the schema of a whole stack file; it constrains only the keys of the project's namespace."""
    _, made = models_json_schema([(each, "validation") for each in _ENTRIES], schema_generator=_AsWritten)
    entries: dict[str, Schema] = made["$defs"]
    for model in _ENTRIES:
        _tell(entries[model.__name__], _BELOW.get(model, "."))
    for members, rows in ((Role, ROLES), (App, APPS), (GuestApp, GUEST_APPS)):
        entries[members.__name__]["description"] += "".join(
            f"\n\n`{member}`: {row.meaning}." for member, row in rows.items()
        )
    for host, kind in ((DockerHost, "docker"), (ProxmoxHost, "proxmox"), (RouterHost, "router")):
        _named(entries[host.__name__])
        entries[host.__name__]["properties"]["kind"] = {"const": kind, **_description("kind")}
        entries[host.__name__]["required"] = ["kind", *entries[host.__name__]["required"]]
    for named in (Zone, SshVantage, ImageVantage):
        _named(entries[named.__name__])
    _named(entries["Container"], "host")
    legs = {"if": {"type": "object"}, "then": _ref(RouterLeg), "else": _type(RouterInterface)}
    entries["RouterHost"]["properties"]["legs"] = {**_mapping(legs), **_description("legs")}
    mounts = entries["Container"]["properties"]["volumes"]
    mounts["items"] = {"if": {"type": "object"}, "then": _ref(Mount), "else": _MOUNT}
    service = _either(_IS_GUEST, _ref(Guest), _ref(Container))
    for guest_kind, traits in GUEST_KINDS.items():
        entry = entries[traits.entry.__name__]
        _named(entry, "host")
        entry["properties"] |= {
            "zone": {**_type(Name), **_description("zone")},
            "kind": {"const": guest_kind, **_description("kind", "service.")},
        }
        if traits.entry is not Guest:
            entry["required"].insert(0, "kind")
            service = _either(_is(guest_kind), _ref(traits.entry), service)
    _named(entries["Slot"], "host")
    of_slot = entries["Slot"]["properties"]
    entries["Slot"]["properties"] = {key: of_slot[key] for key in SLOT_KEYS}
    service = _either({"required": ["project"]}, _ref(Slot), service)
    keys: dict[str, Schema] = {
        "domain": _type(HostName),
        "name-prefix": _type(Prefix),
        "protect": {**_type(Flag), "default": True},
        "hosts": _mapping(
            _either(
                _is("router"),
                _ref(RouterHost),
                _either(_is("proxmox"), _ref(ProxmoxHost), _ref(DockerHost)),
            )
        ),
        "zones": _mapping(_ref(Zone)),
        "services": _mapping(service),
        "flows": {
            "type": "array",
            "items": {"if": {"type": "object"}, "then": _ref(Temporary), "else": _FLOW},
        },
        "tls": {"if": {"required": ["acme"]}, "then": _alone("acme", Acme), "else": _ref(Certificate)},
        "volumes": {
            "type": "object",
            "propertyNames": _type(VolumeName),
            "additionalProperties": {"anyOf": [_ref(NamedVolume), {"type": "null"}]},
        },
        "certificates": _ref(Certificates),
        "unencrypted": {"type": "array", "items": _ref(Unencrypted)},
        "exceptions": {"type": "array", "items": _ref(PolicyException)},
        "assertions": {"type": "array", "items": _ref(Assertion)},
        "vantages": {**_mapping(_ref(SshVantage)), "properties": {CONTAINERS: _ref(ImageVantage)}},
    }
    full = [f"{NAMESPACE}:{key}" for key in KEYS]
    config = {
        "type": "object",
        "properties": {f"{NAMESPACE}:{key}": {**keys[key], **_description(key, "")} for key in KEYS},
        "required": full[: len(REQUIRED)],
        "if": {
            "properties": {
                f"{NAMESPACE}:hosts": {"additionalProperties": {"anyOf": [_is("proxmox"), _is("router")]}}
            }
        },
        "else": {"required": [f"{NAMESPACE}:tls"]},
        "propertyNames": {"anyOf": [{"enum": full}, {"not": {"pattern": f"^{NAMESPACE}:"}}]},
    }
    return {
        **_DIALECT,
        "title": "Stack file of homelab-network",
        "type": "object",
        "properties": {"config": config},
        "required": ["config"],
        "$defs": entries,
    }


def _named(entry: Schema, *implied: str) -> None:
    """Remove `name`, which is the entry's key in YAML, and make the implied keys optional."""
    del entry["properties"]["name"]
    entry["required"] = [key for key in entry["required"] if key not in {"name", *implied}]


def _tell(entry: Schema, before: str) -> None:
    """Describe each key in the words of the loader's messages, and remove pydantic's titles."""
    for key, schema in entry["properties"].items():
        schema.pop("title", None)
        schema.update(_description(key, before))


def _description(key: str, before: str = ".") -> Schema:
    noun, remedy = (
        WORDS.get(f"{before}{key}") or WORDS.get(f".{key}" if before == "slot." else "") or ("", "")
    )
    return {"description": f"{noun[0].upper()}{noun[1:]}; {remedy}."} if noun else {}


def _type(kind: Any) -> Schema:
    return TypeAdapter(kind).json_schema()


def _ref(model: type[Value]) -> Schema:
    return {"$ref": f"#/$defs/{model.__name__}"}


def _is(kind: str) -> Schema:
    return {"required": ["kind"], "properties": {"kind": {"const": kind}}}


def _either(condition: Schema, then: Schema, otherwise: Schema) -> Schema:
    return {"if": condition, "then": then, "else": otherwise}


def _alone(key: str, model: type[Value]) -> Schema:
    """Return the schema of a mapping with this key and no other."""
    return {"properties": {key: _ref(model)}, "additionalProperties": False}


def _mapping(entry: Schema) -> Schema:
    return {"type": "object", "propertyNames": _type(Name), "additionalProperties": entry}


FILES: Final = {"configuration.schema.json": configuration, "outputs.schema.json": outputs}


def text(schema: Schema) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema, indent=2) + "\n"
