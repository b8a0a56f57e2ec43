"""A container in Compose's words is what the stack file makes of it, and none of its secrets is in clear."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.__main__ import main
from resources.resource import HIDDEN, Resource
from tests.policies.mutations import _changes, _paths, _setter
from tests.policies.sound import CANARY, Stack, run
from tests.policies.test_rendered import AS_LEFT_OUT, LEFT_OUT, changed, said
from tests.policies.words import WIKI, site
from tests.site import own
from topology.config import load
from topology.index import TopologyIndex
from topology.project import PROJECT

NAMES = ("wiki", "wiki-db")


@cache
def declared() -> TopologyIndex:
    """Return the site with the wiki."""
    return TopologyIndex.of(load(site()))


@cache
def resources() -> tuple[Resource, ...]:
    """Return the program's resources for it."""
    return tuple(run(site()))


def container(name: str) -> Resource:
    """Return one container of it."""
    return Stack(resources=[*resources()]).get("container", name)


def findings(config: dict[str, Any], made: list[Resource] | None = None) -> list[str]:
    """Return the pack's messages about a site, or about other resources than the program's."""
    found = Stack(resources=made or run(config), config=config).judge().findings
    return [f"{finding.rule}: {finding.message}" for finding in found]


def mutants(resource: Resource) -> Iterator[tuple[str, Resource]]:
    """Yield each change of a container's properties, secret texts left out, which only the stack knows."""
    stack = Stack(resources=[resource])
    for path, value in _paths(resource.inputs, ()):
        if path[0] in LEFT_OUT or any(path[: len(secret)] == secret for secret in resource.secrets):
            continue
        for operator, change in _changes(path, value, stack):
            if operator == "remove" and (not value or path[-1] in AS_LEFT_OUT):
                continue
            yield f"{operator} {'.'.join(map(str, path))}", changed(resource, path, change)


def test_a_wiki_and_its_database_have_no_finding() -> None:
    """The pack accepts what the program makes of every word."""
    assert findings(site(), [*resources()]) == []


def test_the_words_are_in_the_container() -> None:
    """Each word is a property of the resource, in the provider's spelling."""
    inputs = container("wiki").inputs
    assert inputs["envs"] == [
        "DB_HOST=wiki-db",
        "PRICE=5$",
        "WORKERS=4",
        f"DB_PASS={CANARY}-wiki:db-password",
    ]
    assert inputs["command"] == ["serve", "--title", "our wiki"]
    assert inputs["entrypoints"] == ["/bin/wiki"]
    assert inputs["volumes"] == [
        {"containerPath": "/wiki/uploads", "volumeName": "wiki-uploads"},
        {"containerPath": "/wiki/themes", "volumeName": "wiki-themes", "readOnly": True},
        {"containerPath": "/media", "hostPath": "/srv/media", "readOnly": True},
    ]
    assert inputs["healthcheck"] == {
        "tests": WIKI["healthcheck"]["test"],
        "interval": "1m30s",
        "timeout": "10s",
        "retries": 4,
        "startPeriod": "1h0m0s",
    }
    assert (inputs["wait"], inputs["waitTimeout"]) == (True, 4000)
    assert {each["file"]: each["content"] for each in inputs["uploads"]} == {
        "/etc/wiki.conf": "title = wiki\n",
        "/run/secrets/session": f"{CANARY}-wiki:session",
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_property_can_change(name: str) -> None:
    """Every change of a declared container without an app is refused."""
    resource = container(name)
    found = [(mutant, other) for mutant, other in mutants(resource) if other.inputs != resource.inputs]
    assert [mutant for mutant, other in found if not said(other, declared())] == []
    assert len(found) > 100


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("envs", 3), "DB_PASS="),
        (("envs", 3), "DB_PASSWORD=x"),
        (("envs", 3), f"X={CANARY}"),
        (("envs", 0), "DB_HOST=other"),
        (("envs",), ["DB_HOST=wiki-db", "PRICE=5$", "WORKERS=4"]),
        (("envs",), None),
        (("envs",), "DB_HOST=wiki-db"),
        (("uploads", 1, "content"), ""),
        (("uploads", 1, "file"), "/run/secrets/other"),
        (("uploads",), []),
        (("volumes",), []),
        (("volumes", 2, "hostPath"), "/srv"),
        (("volumes", 2, "readOnly"), False),
        (("volumes", 0, "volumeName"), "wiki-db-db"),
        (("healthcheck",), {"tests": ["NONE"]}),
        (("healthcheck", "tests"), ["CMD", "true"]),
        (("command",), None),
        (("entrypoints",), ["/bin/sh"]),
        (("user",), "0:0"),
    ],
    ids=str,
)
def test_a_changed_word_is_refused_without_its_value(path: tuple[Any, ...], value: Any) -> None:
    """A missing, other or further value is refused, and no message holds a secret."""
    other = changed(container("wiki"), path, _setter(value))
    messages = said(other, declared())
    assert messages
    assert CANARY not in "\n".join(messages)


def test_a_secret_in_clear_is_refused() -> None:
    """A declared secret that the program passes as plain text is refused, in a variable and in a file."""
    for trail, name in ((("envs", 3), "envs[DB_PASS]"), (("uploads", 1, "content"), "/run/secrets/session")):
        stack = Stack(resources=[*resources()], config=site())
        old = stack.get("container", "wiki")
        stack.resources[stack.resources.index(old)] = Resource(
            urn=old.urn,
            type=old.type,
            name=old.name,
            inputs=old.inputs,
            secrets=old.secrets - {trail},
            provider=old.provider,
        )
        found = "\n".join(finding.message for finding in stack.judge().findings)
        assert f"wiki: {name}: expected the secret wiki:" in found
        assert CANARY not in found


def test_a_secret_is_in_the_state_as_a_secret_only() -> None:
    """Wherever the program hands a secret to a provider, the engine knows it as one."""
    for resource in resources():
        for path, value in _paths(resource.inputs, ()):
            if isinstance(value, str) and CANARY in value:
                assert any(path[: len(secret)] == secret for secret in resource.secrets), (
                    resource.name,
                    path,
                )


def test_a_variable_that_is_no_secret_stays_refused() -> None:
    """What looks like a secret in clear is refused, and the message does not repeat it."""
    found = findings(site(**{"services.wiki.environment": {"DB_PASS": "hunter2hunter2"}}))
    assert found == ["secrets-are-files: wiki: envs.DB_PASS holds a secret in plain sight"]


def test_an_undeclared_secret_variable_is_refused() -> None:
    """A secret in a variable that the stack file does not declare is in plain sight."""
    stack = Stack(resources=[*resources()], config=site())
    envs = [*stack.inputs("container", "wiki-db")["envs"], "OTHER=hunter2hunter2"]
    old = stack.get("container", "wiki-db")
    stack.resources[stack.resources.index(old)] = changed(old, ("envs",), _setter(envs))
    stack.mark_secret("container", "wiki-db", "envs", 2)
    found = {finding.rule for finding in stack.judge().findings}
    assert found == {"containers-as-rendered", "secrets-are-files"}


def test_a_shared_secret_needs_a_flow() -> None:
    """Without the flow between them, the wiki's password in its database is a copy."""
    config = site()
    less = {**config, "flows": [flow for flow in config["flows"] if flow != "wiki -> wiki-db:5432/tcp"]}
    topology = declared().model_copy(update={"flows": tuple(load(site()).flows[:-1])})
    assert less["flows"] == [str(flow) for flow in topology.flows]
    found = (
        Stack(resources=[*resources()], config=config, topology=TopologyIndex.of(topology)).judge().findings
    )
    assert "secrets-not-shared" in {finding.rule for finding in found}


def test_an_exported_state_passes() -> None:
    """In an exported state secrets are hidden, a variable's name with its value; the rule accepts it."""
    other = changed(container("wiki"), ("envs", 3), _setter(HIDDEN))
    assert said(other, declared()) == []
    twice = changed(other, ("envs",), _setter([*other.inputs["envs"], HIDDEN]))
    assert said(twice, declared()) != []


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """Return a file with variables."""
    file = tmp_path / "wiki.env"
    file.write_text(f"# of the wiki\nexport MAIL_PASSWORD='{CANARY}-$mail' # x\nMAIL_HOST=mail.lan\n")
    return file


def test_variables_of_a_file(env_file: Path) -> None:
    """Every variable of a file is a secret; one that is more, less or different is refused."""
    config = site(**{"services.wiki.env_file": str(env_file)})
    made = run(config)
    stack = Stack(resources=made, config=config)
    assert findings(config, made) == []
    envs = stack.inputs("container", "wiki")["envs"]
    assert envs[-2:] == [f"MAIL_PASSWORD={CANARY}-$mail", "MAIL_HOST=mail.lan"]
    assert {("envs", 4), ("envs", 5)} <= stack.get("container", "wiki").secrets
    topology = TopologyIndex.of(load(config))
    resource = stack.get("container", "wiki")
    for value in ([*envs, "MORE=x"], envs[:-1], [*envs[:-1], "MAIL_HOST=other"], [*envs[:-1], "MAIL_HOST="]):
        messages = said(changed(resource, ("envs",), _setter(value)), topology)
        assert messages, value
        assert CANARY not in "\n".join(messages)


def test_the_judge_needs_no_file(tmp_path: Path) -> None:
    """A reviewer's machine has no file with variables: its container is judged without them."""
    config = site(**{"services.wiki.env_file": str(tmp_path / "none.env")})
    file = tmp_path / "Pulumi.x.yaml"
    keys = {f"homelab-network:{key}": value for key, value in config.items()}
    keys |= {key: {"secure": "x"} for key in ("grafana:adminPassword", "traefik:users")}
    keys |= {key: {"secure": "x"} for key in ("wiki:db-password", "wiki:session")}
    file.write_text(json.dumps({"config": keys}))
    assert main(["judge", str(file)]) == 0


def test_the_documented_example_is_accepted() -> None:
    """The document's wiki with its database is a site that the pack accepts, with its secret in files."""
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    part = text.partition("\n#### Any service\n")[2]
    example = own(yaml.safe_load(part.partition("```yaml\n")[2].partition("```")[0])["config"])
    config = site()
    config["services"] |= example["services"]
    config["flows"][-2:], config["unencrypted"][-1:] = example["flows"], example["unencrypted"]
    assert findings(config) == []
