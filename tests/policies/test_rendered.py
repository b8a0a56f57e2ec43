"""A known app's container is what the stack file makes of it: any other property, file or line is refused."""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from policies.evaluate import evaluate_resource
from policies.rule import RULES
from rendered.apps import runtime
from resources import docker
from resources.resource import UNKNOWN, Resource
from tests.counted import Record, counted
from tests.policies.generate import SETTINGS
from tests.policies.mutations import SEED, Path, _changes, _paths, _setter
from tests.policies.rejected import MIDDLEWARES, ROUTES, SOURCES, STATIC, TLS, alloy, upload
from tests.policies.sound import Stack, run, sound, turn_to_acme
from tests.site import configuration
from topology.config import load
from topology.index import TopologyIndex
from topology.model import App

RULE = {"containers-as-rendered": RULES["containers-as-rendered"]}
LEFT_OUT = {"name", "networksAdvanced"}
"""Properties that other rules judge."""
AS_LEFT_OUT = {"ip", "networkMode", "protocol"}
"""Properties whose value is the provider's default, so that leaving them out changes nothing."""
LINES = 12
"""Lines of each file that are changed, drawn by the seed."""


@cache
def declared() -> TopologyIndex:
    """Return the sound site."""
    return TopologyIndex.of(load(configuration()))


NAMES = [name for name, each in configuration()["services"].items() if each.get("app") in {*App}]


@cache
def container(name: str) -> Resource:
    """Return a container of the sound stack."""
    return sound().get("container", name)


def said(resource: Resource, site: TopologyIndex | None = None) -> list[str]:
    """Return the rule's messages about one container."""
    return [each.message for each in evaluate_resource(resource, site or declared(), RULE).findings]


def changed(resource: Resource, path: Path, change: Callable[[Any, Any], None]) -> Resource:
    """Return a container after a change at a path of its inputs."""
    other = replace(resource, inputs=copy.deepcopy(resource.inputs))
    at: Any = other.inputs
    for step in path[:-1]:
        at = at[step]
    change(at, path[-1])
    return other


def free(resource: Resource) -> set[int]:
    """Return the places of the uploads whose content the stack file does not determine."""
    files = runtime(declared(), declared().containers_by_name[resource.inputs["name"]]).files
    uploads = resource.inputs["uploads"]
    return {place for place, each in enumerate(uploads) if not isinstance(files.get(each["file"]), str)}


def mutants(resource: Resource) -> Iterator[tuple[str, Resource]]:
    """Yield each change of a container's properties, but of contents that the stack file does not say."""
    unfixed, stack = free(resource), Stack(resources=[resource])
    for path, value in _paths(resource.inputs, ()):
        if path[0] in LEFT_OUT or (path[0] == "uploads" and path[-1] == "content" and path[1] in unfixed):
            continue
        for operator, change in _changes(path, value, stack):
            if operator == "remove" and (not value or path[-1] in AS_LEFT_OUT):
                continue
            yield f"{operator} {'.'.join(map(str, path))}", changed(resource, path, change)


def test_the_apps_of_the_site_are_among_the_containers() -> None:
    """The tests below change a container of each of ten apps."""
    assert len({declared().services[name].app for name in NAMES}) == 10


@pytest.mark.parametrize("name", NAMES)
def test_no_property_can_change(name: str, record_property: Record) -> None:
    """Each change of a property, entry, path, name, mount or content is refused."""
    resource = container(name)
    assert said(resource) == []
    found = [*mutants(resource)]
    survivors = [mutant for mutant, other in found if not said(other)]
    assert survivors == []
    counted(record_property, "changes of a container refused", len(found))
    assert len(found) > 100


@pytest.mark.parametrize("name", NAMES)
def test_no_property_can_be_added(name: str) -> None:
    """Each property that the provider knows and the stack file does not render is refused."""
    resource, model = container(name), docker.DockerContainer
    names = {str(field.alias) for field in model.model_fields.values()} | model._inert
    more = names - LEFT_OUT - {key for key, value in resource.inputs.items() if value not in ([], False)}
    assert len(more) > 40
    assert [key for key in more if not said(changed(resource, (key,), _setter("x")))] == []
    told = {"permissions": "0755", "executable": True, "contentBase64": "eA==", "owner": "x", "source": "x"}
    for place in range(len(resource.inputs["uploads"])):
        for key, value in told.items():
            assert said(changed(resource, ("uploads", place, key), _setter(value))), (place, key)


@pytest.mark.parametrize("name", NAMES)
def test_no_line_can_change(name: str) -> None:
    """A line of a file that is added, removed, moved or changed is refused with the file and the line."""
    resource = container(name)
    draw, unfixed = random.Random(SEED), free(resource)  # noqa: S311  # an order, not a secret
    for place, each in enumerate(resource.inputs["uploads"]):
        lines = each["content"].split("\n")
        if place in unfixed:
            continue
        for number in draw.sample(range(len(lines) - 1), min(LINES, len(lines) - 1)):
            before, line, after = lines[:number], lines[number], lines[number + 1 :]
            for made in (
                ["# x", line],
                [],
                [line, line],
                [f"{line} "],
                [f" {line}"],
                [line.swapcase() + "x"],
            ):
                text = "\n".join([*before, *made, *after])
                other = changed(resource, ("uploads", place, "content"), _setter(text))
                if other.inputs != resource.inputs:
                    assert any(f"{each['file']} line " in message for message in said(other)), (number, made)


WEBSECURE = "      tls: {}\n"
HARMFUL = (
    (STATIC, WEBSECURE, "      tls: false\n"),
    (STATIC, "          permanent: true\n", "          permanent: true\n          priority: 1\n"),
    (STATIC, "log:\n", "api: {insecure: 1}\nlog:\n"),
    (STATIC, "  websecure:\n", "  traefik: {address: ':443'}\n  websecure:\n"),
    (STATIC, "  websecure:\n", "  websecure:\n    forwardedHeaders: {insecure: 1}\n"),
    (STATIC, "log:\n", "metrics: {prometheus: {entryPoint: websecure}}\nlog:\n"),
    (STATIC, "  format: json\n", "  format: json\n  filters: {minDuration: 1000h}\n"),
    (STATIC, "    watch: false\n", "    watch: no\n"),
    (STATIC, "log:\n", "core: {defaultRuleSyntax: v2}\nlog:\n"),
    (STATIC, "log:\n", "experimental: {plugins: {x: {moduleName: example/x, version: v1}}}\nlog:\n"),
    (
        ROUTES,
        "  services:\n",
        "    x: {rule: PathPrefix(`/`), entryPoints: [web], service: grafana}\n  services:\n",
    ),
    (ROUTES, "http:\n", "tcp:\n  routers:\n    x: {rule: HostSNI(`*`), service: x}\nhttp:\n"),
    (ROUTES, "      service: grafana\n", "      service: grafana\n      ruleSyntax: v2\n"),
    (
        MIDDLEWARES,
        "    body:\n",
        "    x: {errors: {status: ['404'], service: vaultwarden, query: /admin}}\n    body:\n",
    ),
    (
        MIDDLEWARES,
        "    body:\n",
        "    x: {errors: {status: ['404'], service: nobody, query: /}}\n    body:\n",
    ),
    (TLS, "      sniStrict: true\n", "      sniStrict: yes\n"),
    (TLS, "VersionTLS12", "VersionTLS11"),
)
"""Settings of the ingress with an effect that no other rule has to know: file, old text, new text."""


@pytest.mark.parametrize(("file", "old", "new"), HARMFUL, ids=lambda text: text.strip()[:40])
def test_a_setting_of_the_ingress_is_refused_with_its_file(file: str, old: str, new: str) -> None:
    """A setting that opens something is refused, whether or not a rule knows it."""
    stack = sound()
    given = upload(stack, "traefik", file)
    assert old in given["content"]
    given["content"] = given["content"].replace(old, new, 1)
    (message,) = said(stack.get("container", "traefik"))
    assert message.startswith(f"traefik: {file} line ")


def test_a_second_file_of_options_is_refused() -> None:
    """A file beside the rendered ones is refused, however its suffix is written."""
    for suffix in ("yml", "YML", "toml", "yaml.bak"):
        stack = sound()
        path = f"/etc/traefik/dynamic/a.{suffix}"
        stack.inputs("container", "traefik")["uploads"].append({"file": path, "content": "tls: {}"})
        assert said(stack.get("container", "traefik")) == [f"traefik: {path}: expected nothing"]


def test_no_line_of_alloys_or_of_acmes_can_change() -> None:
    """The same holds for Alloy in Promtail's place, and for an ingress with certificates by ACME."""
    for name, turn in (("promtail", alloy), ("traefik", turn_to_acme)):
        stack = sound()
        turn(stack)
        site, resource = TopologyIndex.of(load(stack.config)), stack.get("container", name)
        assert said(resource, site) == []
        for place, each in enumerate(resource.inputs["uploads"]):
            if ("uploads", place, "content") not in resource.secrets and "BEGIN" not in each["content"]:
                other = changed(resource, ("uploads", place, "content"), _setter(f"{each['content']}#"))
                assert said(other, site) != [], each["file"]


def test_what_the_stack_file_gives_an_app_is_rendered() -> None:
    """An app's environment, files and arguments of the stack file are in its container, after its own."""
    config = configuration()
    for name, settings in SETTINGS.items():
        config["services"][name] |= settings
    stack = Stack(resources=run(config), config=config)
    assert stack.judge().findings == ()
    given = SETTINGS["prometheus"]["arguments"]
    assert stack.inputs("container", "prometheus")["command"][-len(given) :] == given
    assert "TZ=Europe/Berlin" in stack.inputs("container", "traefik")["envs"]
    (path, content), *_ = SETTINGS["cadvisor"]["files"].items()
    assert upload(stack, "cadvisor", path)["content"] == content
    assert not stack.inputs("container", "cadvisor")["readOnly"]


def test_what_the_stack_file_does_not_give_an_app_is_refused() -> None:
    """Without the keys in the stack file the same containers are refused."""
    config = configuration()
    for name, settings in SETTINGS.items():
        config["services"][name] |= settings
    found = Stack(resources=run(config)).judge(RULE).findings
    assert {finding.subject for finding in found} == {*SETTINGS}


def test_what_is_given_is_not_in_a_message() -> None:
    """A message says what is expected, and nothing of what is there."""
    stack = sound()
    upload(stack, "grafana", SOURCES)["content"] = "password: hunter2"
    stack.inputs("container", "grafana").update(
        command=["--password=hunter2"], envs=["PASSWORD=hunter2"], hostname="hunter2"
    )
    messages = said(stack.get("container", "grafana"))
    assert len(messages) > 3
    assert "hunter2" not in "\n".join(messages)


@pytest.mark.parametrize("key", ["image", "command", "uploads", "envs", "user", "healthcheck"])
def test_what_is_unknown_is_refused(key: str) -> None:
    """A property that can't be known before creation is not as rendered."""
    assert said(changed(container("grafana"), (key,), _setter(UNKNOWN))) != []
