"""Rules for secrets: never in plain sight, never beside what they protect, never shared.

Note: these rules see secrets in plain text. They compare values and print none; messages name properties.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.rule import Severity, Violation, cis_docker, policy
from resources import tls
from resources.docker import DockerContainer
from resources.resource import HIDDEN, Trail
from resources.site import Graph
from resources.typed import Command, TypedResource, dotted, is_secret
from topology.index import TopologyIndex

_SECRET = re.compile(
    r"passw|(?<![a-z])(pass|pwd?|jwt|psk)(?![a-z])|secret|token|(api|app|private|encryption)_?key|credential|passphrase",
    re.IGNORECASE,
)
_BACKUP = re.compile(
    r"(backup|restic|borg|kopia).*(key|pass|secret)|(key|pass|secret).*(backup|restic|borg|kopia)",
    re.IGNORECASE,
)
PRIVATE = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
_WRITTEN = re.compile(r"^[ \t-]*[\"']?([\w.-]+)[\"']?[ \t]*[:=][ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
_WORD = re.compile(r"[\w.-]+")
LOGIN = re.compile(r"\w://[^/\s:@]*:[^/\s@]+@")
"""A URL with a user's name and password."""
TOKEN = re.compile(
    r"\b(gh[pousr]_\w{20}|github_pat_\w{20}|glpat-[\w-]{20}|xox[abprs]-[\w-]{10}|AKIA[0-9A-Z]{16}|sk_live_\w{16}"
    r"|hv[bs]\.[\w-]{20}|tskey-\w+-\w{10}|npm_\w{30}|hf_\w{30}|dop_v1_\w{30}|AIza[\w-]{35}|SG\.[\w-]{20}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10})"
)
"""A token by its issuer's own form: GitHub, GitLab, Slack, AWS, Stripe, Vault, Tailscale, npm, Hugging Face,
DigitalOcean, Google, SendGrid, and a signed JWT (RFC 7519)."""
_FORMS = ((PRIVATE, "is a private key"), (LOGIN, "holds a login"), (TOKEN, "holds a token"))
"""What tells a secret by its form, and what a message says of it."""
_POINTS = re.compile(r"^(/|file:|true$|false$|\d*$)", re.IGNORECASE)
_LONG = 8
"""Minimum length at which equal texts count as the same secret."""
_KEY = ("connection", "privateKey")


@policy(
    DockerContainer,
    obligation="A secret must reach a container as a file or declared variable, and be a Pulumi secret.",
    remedy="Declare it under secrets, and name the file in a variable that ends in _FILE; "
    "where the program insists on a variable, declare that as {secret: <key>}.",
    framework=cis_docker("5.30", "Ensure that secrets are not stored in the environment"),
)
def secrets_are_files(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield secrets in environment, labels and arguments, which every inspection shows, and in uploads.

    Variables that the stack file declares as secrets are permitted; their exposure is documented.
    """
    for trail in sorted(view.resource.secrets, key=str):
        if trail[0] not in {"uploads", "image"} and not (
            trail[0] == "envs" and _sources(view, trail, topology)
        ):
            yield f"{dotted(trail)} is a secret in plain sight"
    for path, trail, name, value in _named_values(view.inputs):
        for what in _told(name, value) if not is_secret(view, trail) else ():
            yield f"{path} {what} in plain sight"
    for index, upload in enumerate(view.inputs.uploads):
        if not is_secret(view, ("uploads", index, "content")):
            for what in in_text(upload.text or ""):
                yield f"uploads[{index}].content {what} in plain text; make it a Pulumi secret"


def _told(name: str, value: str) -> Iterator[str]:
    """Yield what a named value is or holds that is secret."""
    named = bool(_names_secret(name) and value and not _POINTS.match(value))
    if named:
        yield "holds a secret"
    yield from (what for form, what in _FORMS if form.search(value) and not (named and form is TOKEN))


def in_text(text: str) -> Iterator[str]:
    """Yield the secret parts of a text, each as the end of a sentence about the text."""
    yield from (what for form, what in _FORMS if form.search(text))
    for name, value in _WRITTEN.findall(text):
        if _names_secret(name) and not _POINTS.match(value):
            yield f"holds {name}"


def _named_values(container: DockerContainer) -> Iterator[tuple[str, Trail, str, str]]:
    """Yield each named value in plain sight: its path for messages, its trail, name and value."""
    for index, env in enumerate(container.envs):
        name, _, value = env.partition("=")
        yield f"envs.{name}", ("envs", index), name, value
    for index, label in enumerate(container.labels):
        yield f"labels.{label.label}", ("labels", index), label.label, label.value
    tests = container.healthcheck.tests if container.healthcheck else ()
    for kind, arguments in (
        ("command", container.command),
        ("entrypoints", container.entrypoints),
        ("healthcheck.tests", tests),
    ):
        for index, argument in enumerate(arguments):
            name, given, value = str(argument).partition("=")
            if not given and name.startswith("-"):
                value = next((str(word) for word in arguments[index + 1 : index + 2]), "")
            elif not given or not _WORD.fullmatch(name):
                name, value = "", str(argument)
            yield f"{kind}[{index}] {name}".rstrip(), (kind, index), name, value


@policy(
    DockerContainer,
    obligation="Backup keys must not be where the public reaches, nor inside what they encrypt.",
    remedy="Keep the key on a service that the ingress does not route to, outside every backed-up folder.",
    severity=Severity.CRITICAL,
)
def backup_keys_apart(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield backup keys on services that the public reaches, and keys inside the data that they encrypt.

    An attacker of such a service would get its backups too; a key inside a backup cannot decrypt it.
    """
    container = view.inputs
    name = topology.logical.get(container.name)
    keys = [*(e for e in container.environment if _BACKUP.search(e)), *_backup_files(container)]
    if keys and name in {topology.ingress_name, *(route.service for route in topology.routes)} - {None}:
        yield from (f"{key} is a backup key on a service that the public reaches" for key in keys)
    for upload in container.uploads:
        if not (_BACKUP.search(upload.file) or _names_secret(upload.file.rpartition("/")[2])):
            continue
        for bind in container.binds:
            if upload.file.startswith(bind.target.rstrip("/") + "/"):
                yield f"{upload.file} is a secret inside {bind.target}, so backups hold their own key"


def _backup_files(container: DockerContainer) -> Iterator[str]:
    yield from (upload.file for upload in container.uploads if _BACKUP.search(upload.file))
    yield from (bind.target for bind in container.binds if _BACKUP.search(bind.target))


@policy(
    obligation="A secret must stay with the service that it is for.",
    remedy="Give each service a secret of its own.",
)
def secrets_not_shared(graph: Graph) -> Iterator[Violation]:
    """Yield copies of another resource's secret: one breach would reveal it to both.

    Certificate requests contain their key, and signed certificates their authority's key; these are no
    copies, nor is the SSH key of two commands. Two containers may hold one declared secret if one of them has
    a flow to the other.
    """
    owners: dict[str, tuple[TypedResource[Any], Trail]] = {}
    others = [view for view in graph.views if not isinstance(view.inputs, tls.Request | tls.Signed)]
    for view in (*graph.of(tls.Authority), *others):
        for trail, text in _held(view, graph.topology):
            if len(text) >= _LONG and HIDDEN not in (text, text.partition("=")[2]):
                owners.setdefault(text, (view, trail))
    for view in others if owners else ():
        for trail, text in texts(view.resource.inputs, ()):
            owner, place = owners.get(text) or owners.get(text.partition("=")[2]) or (view, trail)
            logs_in = isinstance(owner.inputs, Command) and isinstance(view.inputs, Command)
            if owner.resource.urn == view.resource.urn or (logs_in and place == trail == _KEY):
                continue
            if not (
                _linked(owner, view, graph.topology)
                and _sources(owner, place, graph.topology) & _sources(view, trail, graph.topology)
            ):
                yield view, f"{dotted(trail)} is a secret of {owner.name}"


def _held(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[tuple[Trail, str]]:
    """Yield the secrets of a resource, a variable's without its name, too.

    Of a list that the engine hides as a whole, only what the stack file declares counts as a secret.
    """
    for trail in sorted(view.resource.secrets, key=str):
        value = _at(view.resource.inputs, trail)
        inner = [(trail, value)] if isinstance(value, str) else []
        if isinstance(view.inputs, DockerContainer) and isinstance(value, list):
            found = (
                (at, text) for at, text in texts(value, trail) if at[0] != "uploads" or at[-1] == "content"
            )
            inner = [each for each in found if _sources(view, each[0], topology)]
        for at, text in inner:
            yield at, text
            if at[0] == "envs" and isinstance(view.inputs, DockerContainer):
                yield at, text.partition("=")[2]


def _linked(one: TypedResource[Any], other: TypedResource[Any], topology: TopologyIndex) -> bool:
    """Whether one of two containers has a declared flow to the other."""
    names = {topology.logical.get(each.resource.inputs.get("name") or "") for each in (one, other)}
    return any({flow.source, flow.destination} == names for flow in topology.flows)


def _sources(view: TypedResource[Any], trail: Trail, topology: TopologyIndex) -> frozenset[str]:
    """Return the declared sources of a secret in a container: configuration keys, or files with variables.

    A variable that the engine encrypts with its name may have each of them.
    """
    service = isinstance(view.inputs, DockerContainer) and topology.containers_by_name.get(view.inputs.name)
    at = _at(view.resource.inputs, trail[:2])
    if not service or trail[0] not in {"envs", "uploads"}:
        return frozenset()
    if trail[0] == "uploads":
        keys = {service.secrets.get(str(at.get("file")))} if isinstance(at, Mapping) else set()
        return frozenset(filter(None, keys))
    variables = {name: each.secret for name, each in service.environment.items() if not isinstance(each, str)}
    if not isinstance(at, str) or at == HIDDEN:
        return frozenset({*service.env_file, *variables.values()})
    name = at.partition("=")[0]
    return frozenset(
        service.env_file if name not in service.environment else filter(None, [variables.get(name)])
    )


def _names_secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not name.lower().endswith(("_file", "-file", "_path"))


def _at(inputs: Any, trail: Trail) -> object:
    """Return the value at a path; None where the inputs have no such place."""
    for step in trail:
        try:
            inputs = inputs[step]
        except (LookupError, TypeError):
            return None
    return inputs


def texts(value: object, at: Trail) -> Iterator[tuple[Trail, str]]:
    """Yield every text in a value, with its path below `at`."""
    yield from ((trail, each) for trail, each in leaves(value, (str,), at) if isinstance(each, str))


def leaves(value: object, kinds: tuple[type, ...], at: Trail = ()) -> Iterator[tuple[Trail, object]]:
    """Yield every part of a value that is of one of these kinds, with its path below `at`."""
    if isinstance(value, kinds):
        yield at, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, kinds, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, kinds, (*at, index))
