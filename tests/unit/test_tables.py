"""The tables of roles, apps and kinds of guests: complete, documented, drawn, rendered, run in the lab."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Network
from typing import Any

import pytest
import yaml

from components.guests import MACHINES
from lab.images.catalogue import IMAGES
from rendered.apps import RUNTIMES, runtime
from rendered.cloud_init import SETUPS
from report.page import page
from resources.proxmox_guests import GUESTS
from tests.site import configuration
from topology import schema
from topology.config import load
from topology.model import (
    APPS,
    GUEST_APPS,
    GUEST_KINDS,
    ROLES,
    App,
    Container,
    Flow,
    Guest,
    GuestApp,
    GuestKind,
    IncompleteTableError,
    LogRight,
    Machine,
    Port,
    Role,
    Topology,
    Zone,
    table,
)
from topology.model.apps import AppTraits, GuestAppTraits
from topology.model.guest_kinds import GuestKindTraits
from topology.model.roles import RoleTraits
from topology.project import PROJECT

DOCS = PROJECT / "docs"
ASKS = ("client_auth_type: RequireAndVerifyClientCert", "ssl_verify_client on;")
"""Words by which rendered files make software ask for certificates."""
TABLES: Mapping[str, tuple[type[StrEnum], Mapping[Any, object]]] = {
    "ROLES": (Role, ROLES),
    "APPS": (App, APPS),
    "GUEST_APPS": (GuestApp, GUEST_APPS),
    "GUEST_KINDS": (GuestKind, GUEST_KINDS),
    "MACHINES": (Machine, MACHINES),
    "GUESTS": (Machine, GUESTS),
    "RUNTIMES": (App, RUNTIMES),
    "SETUPS": (GuestApp, SETUPS),
}


def row(*cells: object) -> str:
    """Return a line of a Markdown table."""
    words = {True: "yes", False: "no", None: "-"}
    return f"| {' | '.join(str(words.get(cell, cell)) for cell in cells)} |"  # type: ignore[call-overload]


def missing(document: str, rows: Mapping[Any, str]) -> list[str]:
    """Return the rows that a document lacks, each after its member."""
    lines = (DOCS / document).read_text(encoding="utf-8").splitlines()
    return [f"docs/{document}: {member}: no row {line}" for member, line in rows.items() if line not in lines]


def titled(document: str, title: str) -> list[str]:
    """Return the first cells of the rows below a table's head."""
    text = (DOCS / document).read_text(encoding="utf-8")
    _, found, below = text.partition(f"\n{title}\n")
    assert found, f"docs/{document} has no table {title}"
    return re.findall(r"^\| (\S+) \|", below.partition("\n\n")[0], re.MULTILINE)


# ------------------------------------------------------------------------------------------- whole


@pytest.mark.parametrize("name", TABLES)
def test_a_forgotten_row_is_named(name: str) -> None:
    """A table without one of its rows stops the program, and the error names the row."""
    members, rows = TABLES[name]
    assert tuple(rows) == tuple(members)
    for member in members:
        rest = {key: value for key, value in rows.items() if key is not member}
        fault = f"^{name}: no row for {members.__name__}.{member.name}; add one for each$"
        with pytest.raises(IncompleteTableError, match=fault):
            table(name, members, rest)


@pytest.mark.parametrize("traits", [RoleTraits, AppTraits, GuestAppTraits, GuestKindTraits])
def test_no_column_has_a_default(traits: type) -> None:
    """No column has a default, so that every row must set each."""
    columns = fields(traits)
    assert columns
    assert [
        column.name
        for column in columns
        if (column.default, column.default_factory) != (MISSING, MISSING) or not column.kw_only
    ] == []


@pytest.mark.parametrize("role", Role)
def test_a_roles_traits_agree(role: Role) -> None:
    """A role is of at most one kind of network, and what the ingress reaches is not inner."""
    traits = ROLES[role]
    assert not (traits.docker and traits.vlan)
    assert not traits.routable or traits.beside_routable
    assert not (traits.routable and traits.inner)
    assert not traits.inner or traits.docker
    assert not traits.alone or traits.vlan
    assert traits.docker or traits.internal


def subclasses(kind: type[Guest]) -> Iterator[type[Guest]]:
    """Yield a class of guests and those below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def test_every_class_of_guests_is_one_kinds() -> None:
    """Each class of guests is read by one kind, so that no guest is without a kind."""
    read = Counter(traits.entry for traits in GUEST_KINDS.values())
    assert [f"{each.__name__}: {read[each]} kinds" for each in subclasses(Guest) if read[each] != 1] == []


# -------------------------------------------------------------------------------------- documented


def test_every_role_is_documented() -> None:
    """docs/configuration.md has the row of each role, as in the table, and no other."""
    rows = {
        role: row(role, traits.meaning, traits.routable, traits.sensitive) for role, traits in ROLES.items()
    }
    assert missing("configuration.md", rows) == []
    title = "| role | meaning | the ingress routes to it | [sensitive](pull-requests.md) |\n|---|---|---|---|"
    assert titled("configuration.md", title) == list(Role)


def test_every_app_is_documented() -> None:
    """docs/configuration.md has the row of each app, with the lab's image of it, and no other."""
    images = lab_images()
    rows = {
        app: row(
            app,
            traits.meaning,
            traits.asks_for_certificates,
            traits.upstream,
            traits.logs,
            " or ".join(sorted(images.get(app, ()))) or None,
        )
        for app, traits in APPS.items()
    }
    assert missing("configuration.md", rows) == []
    title = "| app | what it is | asks for certificates | passes on to | logs | in the lab |"
    assert titled("configuration.md", f"{title}\n|---|---|---|---|---|---|") == list(App)


def test_every_app_of_guests_is_documented() -> None:
    """docs/configuration.md has the row of each guest app, and docs/real-hosts.md what is set up."""
    rows = {
        app: row(app, traits.meaning, not traits.from_debian, traits.speaks_tls, traits.admin_page)
        for app, traits in GUEST_APPS.items()
    }
    assert missing("configuration.md", rows) == []
    title = "| app | what it is | needs an `image` | speaks TLS | `admin-page` |\n|---|---|---|---|---|"
    assert titled("configuration.md", title) == list(GuestApp)
    title = "| `app` | what is set up | the first administrator |\n|---|---|---|"
    text = (
        (DOCS / "real-hosts.md").read_text(encoding="utf-8").partition(f"{title}\n")[2].partition("\n\n")[0]
    )
    assert re.findall(r"^\| `(\S+)` \|", text, re.MULTILINE) == list(GuestApp)


def test_every_kind_of_guest_is_documented() -> None:
    """docs/configuration.md has the row of each kind of guest, and no other."""
    rows = {kind: row(kind, traits.meaning, traits.cloud_init) for kind, traits in GUEST_KINDS.items()}
    assert missing("configuration.md", rows) == []
    title = "| kind | what it is | sets its app up at its first boot |\n|---|---|---|"
    assert titled("configuration.md", title) == list(GuestKind)


@pytest.mark.parametrize("kind", GuestKind)
def test_the_schema_knows_every_kind_of_guest(kind: GuestKind) -> None:
    """The stack file's schema has the keys of each kind of guest, and takes them by its name."""
    entry = schema.configuration()["$defs"][GUEST_KINDS[kind].entry.__name__]
    assert entry["properties"]["kind"]["const"] == kind
    assert ("kind" in entry["required"]) == (GUEST_KINDS[kind].entry is not Guest)


@pytest.mark.parametrize("made", [False, True], ids=["in docs", "by make schema"])
def test_the_schema_says_what_each_is(made: bool) -> None:
    """The stack file's schema has each role and app, with its meaning."""
    file = DOCS / "configuration.schema.json"
    entries = (schema.configuration() if made else json.loads(file.read_text(encoding="utf-8")))["$defs"]
    tables: tuple[tuple[type[StrEnum], Mapping[Any, RoleTraits | AppTraits | GuestAppTraits]], ...] = (
        (Role, ROLES),
        (App, APPS),
        (GuestApp, GUEST_APPS),
    )
    for members, rows in tables:
        entry = entries[members.__name__]
        assert entry["enum"] == list(members), members.__name__
        said = entry["description"].split("\n\n")[1:]
        assert said == [f"`{member}`: {traits.meaning}." for member, traits in rows.items()]


def test_every_meaning_is_a_sentence_of_a_table() -> None:
    """Every row has a meaning that fits a table cell."""
    meanings = {
        member: traits.meaning
        for rows in (ROLES, APPS, GUEST_APPS, GUEST_KINDS)
        for member, traits in rows.items()
    }
    assert [
        member
        for member, text in meanings.items()
        if not text or text.endswith(".") or {"|", "\n"} & {*text} or text != text.strip()
    ] == []


# ------------------------------------------------------------------------------------------- drawn


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("role", Role)
def test_every_role_is_drawn(role: Role) -> None:
    """The page fills a zone with its role's colours, and text on them has enough contrast in both themes."""
    text, colour = page("site", {}), ROLES[role].colour
    light, dark = re.findall(rf"--zone-{role}: (\S+);", text)
    assert (light, dark) == (colour.light, colour.dark)
    assert f"svg .{role} rect {{ fill: var(--zone-{role}); }}" in text
    inks = re.findall(r"--ink: (#[0-9a-f]{6});", text)
    assert len(inks) == 2
    for ink, back in zip(inks, (light, dark), strict=True):
        assert re.fullmatch("#[0-9a-f]{6}", back), back
        darker, lighter = sorted((luminance(ink), luminance(back)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (role, back)


# ---------------------------------------------------------------------------------------- rendered


@cache
def sound() -> Topology:
    """Return the site of the dev stack."""
    return load(configuration())


def site(app: App) -> tuple[Topology, Container]:
    """Return a sound site that has a service of the app, and that service."""
    topology = sound()
    services = {service.app: service for service in topology.containers if service.app}
    if (service := services.get(app)) is not None:
        return topology, service
    service = Container(
        name=f"another-{app}",
        zones=("frontend",),
        image="example/image:1",
        ports=(Port(number=8080),),
        host="another.homelab.example",
        app=app,
    )
    flows = list(topology.flows)
    if (upstream := APPS[app].upstream) is not None:
        end = services[upstream]
        flows.append(Flow(source=service.name, destination=end.name, port=end.ports[0]))
    if APPS[app].no_login:
        ingress = topology.ingress.name
        flows.append(Flow(source=ingress, destination=service.name, port=service.ports[0]))
    if app is App.MACHINE_PAGE:
        flows.append(Flow(source=service.name, destination="nas", port=Port(number=5001)))
    machine = Zone(name="nas", role=Role.EXTERNAL, prefix=IPv4Network("192.168.30.9/32"))
    more = {
        "zones": {**topology.zones, "nas": machine},
        "services": {**topology.services, service.name: service},
        "flows": tuple(flows),
    }
    return Topology.model_validate(
        {**{key: getattr(topology, key) for key in Topology.model_fields}, **more}
    ), service


def texts(topology: Topology, service: Container) -> str:
    """Return the text of all files of a service."""
    return "\n".join(text for text in runtime(topology, service).files.values() if isinstance(text, str))


@pytest.mark.parametrize("app", App)
def test_every_app_is_rendered_as_its_row_says(app: App) -> None:
    """An app's files ask for certificates if its row says so, and contain its upstream."""
    topology, service = site(app)
    text = texts(topology, service)
    assert any(how in text for how in ASKS) == APPS[app].asks_for_certificates, app
    for flow in topology.flows_from(service.name) if APPS[app].upstream else ():
        assert topology.target(flow) in text, app


@pytest.mark.parametrize("app", App)
def test_the_gateway_lets_each_app_do_what_its_row_says(app: App) -> None:
    """Loki's gateway gives each client the right of its app, and no other."""
    topology, service = site(app)
    gateway = next(each for each in topology.containers if each.app is App.LOKI_GATEWAY)
    flow = Flow(source=service.name, destination=gateway.name, port=gateway.ports[0])
    topology = topology.model_copy(update={"flows": (*topology.flows, flow)})
    found = re.findall(rf'"CN={topology.physical(service.name)}" (\w+);', texts(topology, gateway))
    assert {*found} == {right for right in LogRight if right is APPS[app].logs}, app


@pytest.mark.parametrize("app", [app for app, traits in APPS.items() if traits.no_login])
def test_the_ingress_asks_for_a_login_in_the_place_of_apps_without(app: App) -> None:
    """A route to an app without logins has a login at the ingress."""
    topology, service = site(app)
    (route,) = (route for route in topology.routes if route.service == service.name)
    assert route.login, app


# ------------------------------------------------------------------------------------------ in the lab


def lab_stacks() -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the services of each stack that the lab serves."""
    for file in sorted(PROJECT.glob("Pulumi.*.yaml")):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]
        yield list(config["homelab-network:services"].values())


def lab_images() -> dict[str, set[str]]:
    """Return the image names that the lab's stacks use for each app, or the reference if it has none."""
    names = {image.tag: image.name for image in IMAGES}
    found: dict[str, set[str]] = {}
    for services in lab_stacks():
        for service in services:
            if "app" in service and "image" in service:
                found.setdefault(service["app"], set()).add(names.get(service["image"], service["image"]))
    return found


def test_no_image_of_the_lab_is_left_over() -> None:
    """Each image of the lab's catalogue is used by an app of a stack that the lab serves."""
    assert {image.name for image in IMAGES} == {name for names in lab_images().values() for name in names}
