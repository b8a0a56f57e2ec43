"""Checks of guests that are there already, and of those that set themselves up."""

from __future__ import annotations

from collections.abc import Iterator

from topology.checks.images import IMAGE
from topology.checks.site import Site
from topology.fault import Fault
from topology.model import (
    FROM_DEBIAN,
    GUEST_KINDS,
    HAS_ADMIN_PAGE,
    SPEAKS_TLS,
    SSH,
    Guest,
    Machine,
    Protocol,
    is_scrape,
    kind_of,
    machine_of,
    sets_itself_up,
)


def existing_guests(site: Site) -> Iterator[Fault]:
    """Check guests that are there already: their kind, and that each card's address is its own."""
    holders: dict[str, str] = {}
    for guest in site.guests:
        path = f"services.{guest.name}.existing-mac"
        if guest.existing_mac and machine_of(guest) is not Machine.VIRTUAL_MACHINE:
            yield Fault(path, "is for virtual machines", "leave it out; a container is made anew")
        elif guest.existing_mac and (holder := holders.get(guest.mac)):
            yield Fault(path, f"is {holder}'s, too", "write the address of its own card")
        elif guest.existing_mac and guest.app:
            yield Fault(path, f"{guest.app} would not be set up in it", "leave app out")
        holders.setdefault(guest.mac, guest.name)


def guest_apps(site: Site) -> Iterator[Fault]:
    """Check the image, ports, SSH keys and cloud-init storage of guests with an app."""
    for guest in site.guests:
        path, from_debian = f"services.{guest.name}", guest.app in FROM_DEBIAN
        node = site.node_of(guest)
        if not GUEST_KINDS[kind_of(guest)].cloud_init:
            yield from _set_up_by_nothing(guest, path)
        elif guest.app is None or from_debian:
            if guest.image:
                what = (
                    f"{guest.app} comes from Debian's packages"
                    if from_debian
                    else "there is no app to run it"
                )
                yield Fault(f"{path}.image", what, "leave it out")
        elif guest.image is not None and (
            (match := IMAGE.fullmatch(guest.image)) is None or match["digest"] is None
        ):
            yield Fault(
                f"{path}.image",
                f"{guest.app} needs an image that a digest pins",
                "write it like example/wiki:2.5.1@sha256:…",
            )
        if guest.app is None:
            continue
        flows = (flow for flow in site.flows.values() if flow.destination == guest.name)
        scraped = {flow.port for flow in flows if is_scrape(flow, site.services)}
        served = [port for port in guest.ports if port == guest.web or port not in {SSH, *scraped}]
        if [port.protocol for port in served] != [Protocol.TCP]:
            yield Fault(
                f"{path}.ports",
                f"{guest.app} serves one TCP port",
                "name it, and behind it 22 and an exporter's at most",
            )
        if sets_itself_up(guest) and SSH in guest.ports and node and not node.authorized_keys:
            yield Fault(
                f"{path}.ports",
                "22/tcp is open, and no key can log in",
                f"add hosts.{node.name}.authorized-keys, or remove the port",
            )
        if sets_itself_up(guest) and node and not node.snippets:
            yield Fault(
                f"{path}.app",
                "there is no storage for its cloud-init file",
                f"add hosts.{node.name}.snippets, or remove the app",
            )


def _set_up_by_nothing(guest: Guest, path: str) -> Iterator[Fault]:
    """Yield keys that need cloud-init in a guest without it; Proxmox's API runs no command either."""
    remedy = f"name a template that has {guest.app or 'it'}, and leave this out, or write kind: vm"
    if guest.image:
        yield Fault(
            f"{path}.image", f"no guest of kind {kind_of(guest)} sets itself up from an image", remedy
        )
    elif guest.app in FROM_DEBIAN:
        yield Fault(f"{path}.app", f"no guest of kind {kind_of(guest)} sets {guest.app} up by itself", remedy)


def admin_pages(site: Site) -> Iterator[Fault]:
    """Check that `admin-page` is set only on guests whose app has an admin page."""
    for guest in site.guests:
        if guest.admin_page and guest.app not in HAS_ADMIN_PAGE:
            yield Fault(
                f"services.{guest.name}.admin-page",
                f"{guest.name} is not declared as Vaultwarden",
                "add app: vaultwarden, or remove it",
            )


def guest_authorities(site: Site) -> Iterator[Fault]:
    """Check that `ca-file` fits the app of a guest that sets itself up: none without TLS, one with it."""
    for guest in (guest for guest in site.guests if guest.app and sets_itself_up(guest)):
        path = f"services.{guest.name}.ca-file"
        if guest.ca_file and guest.app not in SPEAKS_TLS:
            yield Fault(
                path,
                f"{guest.app} is set up without TLS",
                "leave it out, and declare the flow under unencrypted",
            )
        if not guest.ca_file and guest.app in SPEAKS_TLS and guest.name in site.routed:
            yield Fault(
                path,
                f"{guest.app} answers by TLS alone, and no authority of its certificate is named",
                "name the PEM file of that authority",
            )
