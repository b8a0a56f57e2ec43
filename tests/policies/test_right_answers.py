"""What Traefik, Docker and Proxmox take in another form is no finding, and one fault is told once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from policies.rule import RULES, Finding
from tests.policies.rejected import MIDDLEWARES, ROUTES, STATIC, TLS, edit, upload
from tests.policies.sound import Stack, sound

Change = Callable[[Stack], None]


FREE = frozenset(
    [
        "customrequestheaders",
        "customresponseheaders",
        "middlewares",
        "options",
        "routers",
        "serverstransports",
        "services",
        "stores",
    ]
)
"""Keys below which the next keys are names that the user chooses."""


def _lower(value: Any, *, names: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key if names else key.lower(): _lower(inner, names=not names and key.lower() in FREE)
            for key, inner in value.items()
        }
    return [_lower(inner) for inner in value] if isinstance(value, list) else value


def dynamic_keys_in_lower_case(stack: Stack) -> None:
    """Traefik compares the keys of dynamic files without case."""
    for file in (ROUTES, MIDDLEWARES, TLS):
        given = upload(stack, "traefik", file)
        given["content"] = yaml.safe_dump(_lower(yaml.safe_load(given["content"])))


def headers_that_harm_nobody(stack: Stack) -> None:
    """Two headers of browsers open nothing."""

    def change(content: Any) -> None:
        harmless = {"browserXssFilter": True, "forceSTSHeader": True}
        content["http"]["middlewares"]["headers"]["headers"] |= harmless

    edit(stack, "traefik", MIDDLEWARES, change)


def rules_in_lower_case(stack: Stack) -> None:
    """Traefik compares the functions of a rule without case."""
    given = upload(stack, "traefik", ROUTES)
    given["content"] = given["content"].replace("Host(", "host(")


def a_url_without_the_port_of_its_scheme(stack: Stack) -> None:
    """A URL without a port has its scheme's."""
    given = upload(stack, "traefik", ROUTES)
    given["content"] = given["content"].replace("http://10.10.30.11:80", "http://10.10.30.11")


def _chained(stack: Stack) -> None:
    def change(content: Any) -> None:
        http = content["http"]
        http["middlewares"] = {"both": {"chain": {"middlewares": ["login", "body"]}}}
        http["routers"]["prometheus-ui"]["middlewares"] = ["both"]

    edit(stack, "traefik", ROUTES, change)


def a_login_in_a_chain(stack: Stack) -> None:
    """A chain asks for what its middlewares ask for: for Prometheus UI as for the dashboard."""
    _chained(stack)
    edit(stack, "traefik", ROUTES, lambda content: content["http"]["routers"].update(api=_DASHBOARD))


_DASHBOARD = {
    "rule": "Host(`dashboard.homelab.localhost`)",
    "service": "api@internal",
    "entryPoints": ["websecure"],
    "middlewares": ["both"],
}


def _flags(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flags(inner, f"{path}.{key}" if path else f"--{key}")
    elif isinstance(value, list):
        yield f"{path}={','.join(map(str, value))}"
    else:
        yield f"{path}={'true' if value == {} else str(value).lower() if isinstance(value, bool) else value}"


def lists_with_commas_in_arguments(stack: Stack) -> None:
    """Arguments give a list with commas."""
    inputs = stack.inputs("container", "traefik")
    content = yaml.safe_load(upload(stack, "traefik", STATIC)["content"])
    inputs["command"] = [*_flags(content)]
    upload(stack, "traefik", STATIC).update(file="/etc/traefik/readme", content="see the arguments")


def triggers_of_an_own_command(stack: Stack) -> None:
    """A trigger decides when a command runs again, not what it does."""
    stack.inputs("command", "host-rules")["triggers"] = ["x"]


def containers_in_other_words(stack: Stack) -> None:
    """The engine's defaults may be stated, an image be a digest, and an image's own file be named."""
    options = ["no-new-privileges", "apparmor=docker-default", "seccomp=builtin"]
    digest = f"sha256:{'0' * 64}"
    said: dict[str, dict[str, Any]] = {
        "loki": {"runtime": "runc", "securityOpts": options, "capabilities": {"drops": ["NET_RAW"]}},
        "grafana": {"image": f"grafana/grafana@{digest}", "ipcMode": "private", "logDriver": "local"},
        "promtail": {"image": digest, "ipcMode": "none", "logDriver": "journald"},
        "cadvisor": {
            "memory": 1.0,
            "memorySwap": 1.0,
            "logDriver": "none",
            "command": ["--config.file=/x.conf"],
        },
    }
    for name, inputs in said.items():
        stack.inputs("container", name).update(inputs)


def _interprets(finding: Finding) -> bool:
    """Whether a finding is of a rule that reads what the file means."""
    return RULES[finding.rule].check.__module__.rpartition(".")[2] in _INTERPRET


_INTERPRET = {"acme", "certificates", "closed", "containers", "flows", "ingress", "networks", "uploads"}


def drives_that_the_provider_adds(stack: Stack) -> None:
    """The provider gives every machine a CD-ROM drive without a file, which it then leaves out."""
    stack.inputs("vm", "site-1")["cdrom"] = {"interface": "ide3"}
    stack.inputs("vm", "site-2")["cdrom"] = {"fileId": "", "interface": "ide3"}
    stack.inputs("vm", "jellyfin")["cdrom"] = {"fileId": "none"}


SOUND = (
    dynamic_keys_in_lower_case,
    headers_that_harm_nobody,
    rules_in_lower_case,
    a_url_without_the_port_of_its_scheme,
    a_login_in_a_chain,
    lists_with_commas_in_arguments,
    triggers_of_an_own_command,
    containers_in_other_words,
    drives_that_the_provider_adds,
)


@pytest.mark.parametrize("change", SOUND, ids=lambda change: change.__name__)
def test_another_form_is_no_finding(change: Change) -> None:
    """What a program takes in another form means the same to the pack."""
    stack = sound()
    change(stack)
    assert [str(finding) for finding in stack.judge_changes().findings if _interprets(finding)] == []


def test_a_key_in_two_spellings_is_refused() -> None:
    """Of a key in two spellings, Traefik takes one or the other."""
    stack = sound()

    def change(content: Any) -> None:
        content["http"]["routers"]["grafana"]["entrypoints"] = ["x"]

    edit(stack, "traefik", ROUTES, change)
    assert {finding.rule for finding in stack.judge_changes().findings} >= {"ingress-configuration-known"}


def test_an_error_in_a_file_is_told_once_with_its_line() -> None:
    """A file that does not parse is one finding, which names the line, and not one for each of its routes."""
    stack = sound()
    upload(stack, "traefik", ROUTES)["content"] = "http:\n  routers: [\n"
    found = stack.judge_changes().findings
    messages = [str(each) for each in found if each.subject == "traefik" and _interprets(each)]
    assert messages == [f"traefik: {ROUTES}, line 3: does not parse, so Traefik drops all of it"]


def test_guests_without_an_id_are_not_the_same() -> None:
    """Two guests without an id are two guests."""
    stack = sound()
    for name in ("site-1", "site-2"):
        del stack.inputs("vm", name)["vmId"]
    assert "one-resource-each" not in {finding.rule for finding in stack.judge_changes().findings}


def test_a_finding_shows_no_login_of_a_url() -> None:
    """A login in a server's URL is a finding, and no finding repeats it."""
    stack = sound()
    given = upload(stack, "traefik", ROUTES)
    given["content"] = given["content"].replace("http://10.10.30.11:80", "http://me:canary@10.10.9.9")
    messages = [str(finding) for finding in stack.judge_changes().findings]
    assert [message for message in messages if "canary" in message] == []
    where = f"traefik: {ROUTES}: http.routers.vaultwarden"
    assert {f"{where}: has a login in the URL of 10.10.9.9:80"} < {*messages}


def test_nulls_for_what_is_not_set_are_no_finding() -> None:
    """An engine gives null for settings that a program leaves out, inside others as well."""
    stack = sound()
    guest = stack.inputs("vm", "site-1")
    guest["initialization"] |= {"dns": None, "userAccount": None, "hostname": None}
    guest["disks"][0]["fileId"] = None
    assert stack.judge().findings == ()
