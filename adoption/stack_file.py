"""Puts the halves together, and writes the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from ipaddress import IPv4Network
from pathlib import Path

from adoption.containers import DockerHalf
from adoption.guests import ProxmoxHalf
from adoption.names import Names
from adoption.source import Source
from adoption.stack import Stack
from compose.outcome import Noted
from survey.errors import SurveyError
from survey.site import RunningSite
from topology.model import INTERNET

_FILE = re.compile(r"Pulumi\.([A-Za-z0-9][A-Za-z0-9_-]*)\.yaml")
_HANDS_OVER = (
    "secret_of() { docker inspect --format '{{json .Config.Env}}' \"$1\" | python3 -c 'import json, sys; n = "
    'sys.argv[1] + "="; print(next(v for v in json.load(sys.stdin) if v.startswith(n))[len(n):], end="")\' '
    '"$2"; }'
)


def name_of(path: Path) -> str:
    """Return the stack's name in the path of its file."""
    return path.name.removeprefix("Pulumi.").removesuffix(".yaml")


def path_of(given: str) -> Path:
    """Return the path of a stack file that is not there yet; raises SurveyError."""
    path = Path(given)
    if not _FILE.fullmatch(path.name):
        raise SurveyError(f"{given}: is no name of a stack file; write it like Pulumi.home.yaml.")
    if path.exists():
        raise SurveyError(f"{given}: is there already; name another, or remove it.")
    if not path.parent.is_dir():
        raise SurveyError(f"{given}: its folder is not there; name one that is.")
    return path


def written(site: RunningSite, sources: Sequence[Source], today: date, name: str = "home") -> str:
    """Return the text of the stack file `name` that declares what a survey saw; raises SurveyError."""
    stack, names = Stack(today), Names((INTERNET,))
    host = names.give(site.host, "docker")
    lans = [each for each in site.facts.outsides if each.prefix and each.inbound]
    taken = [each.prefix for each in lans if each.prefix]
    guests = ProxmoxHalf(site, stack, names)
    outside = guests.zones(taken) or _outside(site, stack, names)
    stack.hosts[host] = {"kind": Noted("docker", "without `ssh`, Pulumi runs there; docs/real-hosts.md")}
    hidden = DockerHalf(site, sources, stack, names).write(outside, taken)
    guests.write(host)
    known = " ".join(stack.commands)
    needed = [key for key in stack.mend().secrets if key not in known]
    stack.commands += [f"pulumi config set --secret {key}" for key in needed]
    if guests.is_there and site.proxmox:
        stack.endpoint = f"{site.proxmox.url.rstrip('/')}/"
        stack.commands.append("pulumi config set --secret proxmoxve:apiToken")
    text = "\n".join((*_lines(site, stack, name), ""))
    for each in hidden:  # the last guard, for what no other place has found
        text = text.replace(each, "<secret>")
    return text


def _outside(site: RunningSite, stack: Stack, names: Names) -> str:
    """Return who uses published ports today, after declaring the machines of the host's own network."""
    if any(each.name == INTERNET and each.inbound for each in site.facts.outsides):
        return INTERNET
    lans = [each for each in site.facts.outsides if each.prefix and each.inbound]
    if not lans:
        return INTERNET
    prefix: IPv4Network | None = lans[0].prefix
    name = names.give(lans[0].name)
    told = "machines of the host's own network; where the router forwards a port, flows begin at internet"
    stack.zones[name] = Noted({"role": "external", "prefix": str(prefix)}, told)
    return name


def _lines(site: RunningSite, stack: Stack, name: str) -> Iterator[str]:
    yield "# yaml-language-server: $schema=docs/configuration.schema.json"
    yield f"# What ran on {_plain(site.host)} on {stack.today}, as the survey read it. Nothing was changed."
    yield "# Read what is guessed and what is left out; docs/from-a-running-site.md says how to go on."
    yield from (f"# left out: {_plain(each)}" for each in stack.left_out)
    yield from (f"# note: {_plain(each)}" for each in stack.notes)
    yield from (f"# not seen: {_plain(each)}" for each in site.unseen)
    yield from stack.lines()
    if stack.commands:
        yield "# Before the preview, hand the secrets over; no command shows one:"
        yield f'#   make tools && eval "$(make -s env STACK={name})" && pulumi stack select --create {name}'
        yield f"#   {_HANDS_OVER}"
        yield from (f"#   {each} --stack {name}" for each in stack.commands)


def _plain(text: str) -> str:
    """Return a text on one line, as a comment needs it."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
