"""Takes one service of a Compose file in the words of a stack file."""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

from compose import limits, mounts, routes, traefik
from compose.document import env_file
from compose.known import INGRESSES, MOVING, TUNNELS, known
from compose.limits import HOST_MODES, TAKEN
from compose.mounts import Place
from compose.outcome import Draft, Noted, Outcome, Text, is_tainted, listed
from compose.secrecy import in_words, is_secret
from compose.words import if_valid, pairs
from topology.checks.images import IMAGE
from topology.compose_words import REFUSED, refusal
from topology.versions import software

_SILENT: Final = frozenset(
    {
        *("restart", "container_name", "hostname", "networks", "logging", "cap_drop", "platform", "links"),
        *("pull_policy", "stdin_open", "tty", "attach", "annotations", "expose", "ports", "profiles"),
        *("image", "build", "environment", "env_file", "volumes", "secrets", "configs", "labels", "develop"),
        *("depends_on", "user", "cap_add", "devices", "dns", "extra_hosts", "sysctls", "security_opt"),
        *("command", "entrypoint", "healthcheck", "mem_limit", "mem_reservation", "memswap_limit", "deploy"),
        *("read_only", "tmpfs", "network_mode", "cpu_shares", "group_add", "scale", "mac_address"),
    }
)
"""Keys that are read elsewhere, or change nothing that the site does not settle by itself."""


def take(name: str, file_name: str, service: dict[str, Any], place: Place, outcome: Outcome) -> Draft | None:
    """Return a service in the stack file's words; None where nothing sensible remains of it."""
    image = str(service.get("image") or "")
    path = f"services.{name}"
    draft = Draft(name, image)
    draft.aliases = {file_name, name, *_names(service)}
    if not _is_possible(draft, service, outcome):
        return None
    if mounts.take(draft, service, place, outcome):
        outcome.refuse(
            f"{path}.volumes",
            "mounts the engine's socket, which is root on the host; the service is left out",
            _instead(image),
        )
        return None
    _image(draft, outcome)
    _variables(draft, service, outcome)
    _env_files(draft, service, place, outcome)
    _program(draft, service, outcome)
    _user(draft, service, outcome)
    limits.limits(draft, service, outcome)
    limits.privileges(draft, service, outcome)
    limits.names_and_labels(draft, service, outcome)
    traefik.labels(draft, service, outcome)
    routes.ports(draft, service, outcome)
    _waits(draft, service, outcome)
    _other(draft, service, outcome)
    return draft


def _instead(image: str) -> str:
    tools = {
        "portainer": "look with `docker ps` over SSH; what runs is declared here",
        "portainer-ce": "look with `docker ps` over SSH; what runs is declared here",
        "watchtower": "raise versions in the stack file, so that a change is judged",
        "dozzle": "use Loki with promtail or alloy, which read log files",
        "homepage": "declare its pages in a file",
    }
    return tools.get(software(image), "configure it by files, or let it read an exporter over the network")


def _names(service: dict[str, Any]) -> set[str]:
    """Return further names under which the others find a service."""
    found = {str(service[key]) for key in ("container_name", "hostname") if service.get(key)}
    networks = service.get("networks")
    for network in networks.values() if isinstance(networks, dict) else ():
        if isinstance(network, dict):
            found |= {str(alias) for alias in network.get("aliases") or ()}
    return found


def _is_possible(draft: Draft, service: dict[str, Any], outcome: Outcome) -> bool:
    """Whether a service can be declared at all; what cannot is refused, or said to be replaced."""
    path = f"services.{draft.name}"
    mode = str(service.get("network_mode") or "")
    if "extends" in service:
        outcome.refuse(
            f"{path}.extends",
            "would read another file",
            "run `docker compose config`, and read what it prints",
        )
    elif not draft.image or ("build" in service and ":" not in draft.image):
        outcome.refuse(f"{path}.build", *REFUSED["build"])
    elif is_tainted(draft.image) or not IMAGE.fullmatch(draft.image):
        outcome.refuse(f"{path}.image", "is no image reference", "write it like example/wiki:2.5.1")
    elif software(draft.image) in INGRESSES:
        outcome.note(
            f"{path} is left out: the site's own ingress (app: traefik) does its work; its routes are flows, "
            "its certificates are tls, and it needs no socket"
        )
    elif software(draft.image) in TUNNELS:
        outcome.refuse(
            path, "would let the internet in past the ingress", "put it on a guest with a flow to the ingress"
        )
    elif mode.startswith(("service:", "container:")):
        outcome.refuse(f"{path}.network_mode", *refusal("network_mode", mode))
    else:
        if mode in {"host", "none"} or mode not in {"", "bridge"}:
            outcome.refuse(f"{path}.network_mode", *refusal("network_mode", mode))
            if found := known(draft.image):
                draft.routes.append((found.port, False, f"{software(draft.image)} has its pages there"))
        return True
    return False


def _image(draft: Draft, outcome: Outcome) -> None:
    match = IMAGE.fullmatch(draft.image)
    draft.keys["image"] = draft.image
    path = f"services.{draft.name}.image"
    if match and match["digest"] is None and match["tag"] in (None, "latest"):
        remedy = f"write its version; `docker image inspect {draft.image}` on the old host tells the digest"
        outcome.refuse(path, f"{draft.image} names no version", remedy)
        draft.keys["image"] = Noted(draft.image, "refused: names no version; write one here")
    elif match and match["digest"] is None and match["tag"] in MOVING:
        draft.keys["image"] = Noted(draft.image, "guessed: the tag moves; a version is better")


def _variables(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    made: dict[str, Any] = {}
    for name, value in pairs(service.get("environment")).items():
        path = f"services.{draft.name}.environment.{name}"
        if value is None:
            outcome.note(f"{path} takes its text from the shell, and is left out")
            continue
        text = (
            str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else str(value)
        )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII):
            outcome.refuse(
                f"services.{draft.name}.environment", "has a name that is none", "use letters and digits"
            )
        elif name == "DOCKER_HOST":
            outcome.refuse(path, "would give it the engine, which is root on the host", _instead(draft.image))
        elif is_secret(name, text):
            made[name] = Secret(name, text)
        else:
            made[name] = text
        draft.texts.append((f"the variable {name}", name, text))
    if made:
        draft.keys["environment"] = made


def _env_files(draft: Draft, service: dict[str, Any], place: Place, outcome: Outcome) -> None:
    files = []
    for entry in listed(service.get("env_file")):
        file = entry.get("path") if isinstance(entry, dict) else entry
        optional = isinstance(entry, dict) and entry.get("required") is False
        if not isinstance(file, str) or is_tainted(file):
            outcome.refuse(f"services.{draft.name}.env_file", "names no file", "name it like wiki.env")
        elif not (place.folder / file).is_file():
            if not optional:
                remedy = "write it beside the Compose file, where its variables tell the flows"
                outcome.refuse(f"services.{draft.name}.env_file", f"{file} is not there", remedy)
        else:
            found = env_file(place.folder / file)
            draft.texts += [(f"the variable {name} of {file}", name, text) for name, text in found.items()]
            if file in place.shared:
                _write_out(draft, found)
                outcome.note(f"{file} is written out in each service, since a secret is not for all of them")
            else:
                files.append(file.removeprefix("./"))
    if files:
        comment = "certain: every value in it is a secret; copy it beside the stack file, out of git"
        draft.keys["env_file"] = Noted(files, comment)


def _write_out(draft: Draft, found: dict[str, Text]) -> None:
    """Put the variables of a file that several services name into each, so that each has its own secrets."""
    environment = draft.keys.setdefault("environment", {})
    for name, text in found.items():
        if name not in environment:
            environment[name] = Secret(name, text) if is_secret(name, text) else text
            draft.from_files.add(name)


class Secret:
    """A variable's secret text on its way to a configuration key; `repr` shows none of it."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    def __repr__(self) -> str:
        return f"Secret({self.name})"


def _words(value: Any) -> list[Any] | None:
    if isinstance(value, str):
        try:
            return [Text(word, secret=is_tainted(value)) for word in shlex.split(value)]
        except ValueError:
            return None
    return (
        [each if isinstance(each, str) else str(each) for each in value] if isinstance(value, list) else None
    )


def _program(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    for key in ("command", "entrypoint"):
        if service.get(key) in (None, [], ""):
            continue
        words = _words(service[key])
        path = f"services.{draft.name}.{key}"
        if words is None or any(word.startswith("@") for word in words):
            outcome.refuse(path, "cannot be read as a shell does", "write a list of its words")
        elif in_words(words):
            remedy = "give the program a file with secrets, or a variable with {secret: <key>}"
            outcome.refuse(path, "holds a secret, which every inspection shows", remedy)
        else:
            draft.keys[key] = list(words)
            draft.texts += [(f"an argument of {key}", "", word) for word in words]
    check = service.get("healthcheck")
    if not isinstance(check, dict):
        return
    test = check.get("test")
    words = test if isinstance(test, list) else shlex.split(test) if isinstance(test, str) else []
    if is_tainted(test) or in_words([str(word) for word in words]):
        remedy = "let it read $$NAME, which the container's own shell replaces, or a file"
        outcome.refuse(
            f"services.{draft.name}.healthcheck", "holds a secret, which every inspection shows", remedy
        )
        return
    taken = ("test", "interval", "timeout", "retries", "start_period", "start_interval", "disable")
    kept = {k: v for k, v in check.items() if k in taken and (k, v) != ("retries", 0)}  # 0: as if left out
    if kept.get("test") or kept.get("disable"):  # else the image's own, as here by default
        if_valid(draft, "healthcheck", kept, outcome)


def _user(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    given, path = service.get("user"), f"services.{draft.name}.user"
    found = known(draft.image)
    if given is not None:
        text = str(given)
        if re.fullmatch(r"(0|root)(:.*)?", text):
            remedy = "write the uid:gid that owns its data, which `id` in the container tells"
            if outcome.keeps:
                outcome.need("containers-not-root", draft.name, "it runs as root today")
                draft.keys["user"] = Noted("0:0", f"as today, by exception; {remedy}")
            else:
                outcome.refuse(path, "would be root, who is root on the host after a breakout", remedy)
        elif re.fullmatch(r"\d{1,10}:\d{1,10}", text):
            draft.keys["user"] = text
        elif re.fullmatch(r"\d{1,10}", text):
            draft.keys["user"] = Noted(f"{text}:{text}", "guessed: the group of the same number")
        else:
            outcome.refuse(path, "is a user by name", "write uid:gid, which `id` in the container tells")
    elif found and found.user:
        draft.keys["user"] = Noted(found.user, f"guessed: the user of the image {software(draft.image)}")
    elif {"PUID", "PGID"} <= draft.keys.get("environment", {}).keys():
        environment = draft.keys["environment"]
        user = f"{environment['PUID']}:{environment['PGID']}"
        if re.fullmatch(r"[1-9]\d{0,9}:\d{1,10}", user):
            draft.keys["user"] = Noted(user, "guessed: from PUID and PGID; the image must start without root")
    else:
        outcome.note(f"{path}: runs as 65534:65534 unless you write the user that owns its data")


def _waits(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    given = service.get("depends_on")
    for name in given if isinstance(given, list | dict) else ():
        options = given[name] if isinstance(given, dict) else {}
        condition = str((options or {}).get("condition", "service_started"))
        if condition == "service_completed_successfully":
            remedy = "run that program by hand, or let the image do it at its start"
            outcome.refuse(
                f"services.{draft.name}.depends_on",
                f"waits for {name} to end, and containers here keep running",
                remedy,
            )
        else:
            draft.waits[str(name)] = condition
    for each in listed(service.get("links")):
        name, _, alias = str(each).partition(":")
        draft.waits.setdefault(name, "service_started")
        if alias:
            outcome.note(f"services.{draft.name}.links: {name} is not called {alias} here")


def _other(draft: Draft, service: dict[str, Any], outcome: Outcome) -> None:
    """Refuse every key that was not read: what is not known is not skipped."""
    for key in service:
        if key in _SILENT or key in TAKEN or key in HOST_MODES or key.startswith("x-"):
            continue
        if key in {"privileged", "gpus", "extends"}:
            continue
        fault, remedy = REFUSED.get(key, ("is no key that is known", "leave it out"))
        if key in {"cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpuset", "pids_limit", "runtime"}:
            outcome.note(f"services.{draft.name}.{key} {fault}; {remedy}")
        else:
            outcome.refuse(f"services.{draft.name}.{key}", fault, remedy)
