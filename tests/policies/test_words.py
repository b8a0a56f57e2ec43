"""A container in Compose's words is what the stack file makes of it, and none of its secrets is in clear."""

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker as docker
import pytest
import yaml

from commands.__main__ import main
from components import sdk
from policies.rule import RULES
from rendered.compose import span
from resources import program
from resources.resource import HIDDEN, Resource
from tests import fuzz_changes
from tests.counted import Record, counted
from tests.policies.mutations import _changes, _paths, _setter
from tests.policies.sound import CANARY, Stack, run
from tests.policies.test_rendered import AS_LEFT_OUT, LEFT_OUT, changed, said
from tests.policies.words import WIKI, site
from tests.site import own
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from topology.project import PROJECT

RULE = "secrets-not-shared"
NAMES = ("wiki", "wiki-db", "names")


SPELLED: dict[str, Any] = {
    "workingDir": "/wiki",
    "init": True,
    "readOnly": False,
    "tmpfs": {
        "/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777",  # noqa: S108  # a path in the container
        "/run/wiki": "rw,noexec,nosuid,nodev,size=16m,mode=755",
        "/var/cache": "rw,noexec,nosuid,nodev,size=64m,mode=1777",
    },
    "shmSize": 128,
    "ulimits": [
        {"name": "nofile", "soft": 4096, "hard": 4096},
        {"name": "nproc", "soft": 100, "hard": 200},
    ],
    "sysctls": {"net.core.somaxconn": "1024"},
    "hosts": [{"host": "mail.lan", "ip": "192.168.20.25"}],
    "dns": ["172.30.2.53"],
    "stopSignal": "SIGINT",
    "stopTimeout": 90,
    "destroyGraceSeconds": 90,
    "labels": [
        {"label": "homelab-network.stack", "value": "dev"},
        {"label": "org.example.team", "value": "home"},
    ],
    "capabilities": {"adds": ["CAP_NET_BIND_SERVICE"], "drops": ["ALL"]},
    "cpus": "1.5",
}
"""Words of the wiki in the provider's spelling."""


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
    assert {key: inputs[key] for key in SPELLED} == SPELLED
    assert {each["file"]: each["content"] for each in inputs["uploads"]} == {
        "/etc/wiki.conf": "title = wiki\n",
        "/run/secrets/session": f"{CANARY}-wiki:session",
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_property_can_change(name: str, record_property: Record) -> None:
    """Every change of a declared container without an app is refused."""
    resource = container(name)
    found = [(mutant, other) for mutant, other in mutants(resource) if other.inputs != resource.inputs]
    assert [mutant for mutant, other in found if not said(other, declared())] == []
    assert len(found) > 60
    counted(record_property, "changes of a container refused", len(found))


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
        (("workingDir",), "/"),
        (("init",), False),
        (("tmpfs",), {}),
        (("tmpfs", "/run/wiki"), "exec"),
        (("shmSize",), 64),
        (("ulimits", 0, "hard"), -1),
        (("ulimits",), []),
        (("sysctls",), {"net.core.somaxconn": "1024", "net.ipv4.ip_forward": "1"}),
        (("hosts", 0, "ip"), "192.168.20.26"),
        (("hosts",), [{"host": "loki", "ip": "192.168.20.25"}]),
        (("dns",), ["9.9.9.9"]),
        (("dns",), None),
        (("stopSignal",), "SIGKILL"),
        (("stopTimeout",), 1),
        (("labels", 1, "value"), "x"),
        (("labels",), []),
        (("capabilities", "adds"), ["CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN"]),
        (("capabilities", "drops"), []),
        (("cpus",), "4"),
        (("devices",), [{"hostPath": "/dev/net/tun"}]),
        (("privileged",), True),
        (("ports",), [{"internal": 3000, "external": 3000}]),
        (("mounts",), [{"type": "bind", "source": "/srv", "target": "/srv"}]),
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
        stack.resources[stack.resources.index(old)] = replace(old, secrets=old.secrets - {trail})
        found = "\n".join(finding.message for finding in stack.judge().findings)
        assert f"wiki: {name}: expected the secret wiki:" in found
        assert CANARY not in found


def test_the_engine_may_hide_a_list_as_a_whole() -> None:
    """An engine marks a whole list for one secret in it; variables and files are judged all the same."""

    def whole(resource: Resource) -> Resource:
        return replace(resource, secrets=frozenset(trail[:1] for trail in resource.secrets))

    config = site(**{"services.names.secrets": {"/run/secrets/session": "names:session"}})
    assert findings(config, [whole(resource) for resource in run(config)]) == []
    made = [whole(resource) for resource in resources()]
    stack = Stack(resources=made, config=site())
    for name, index in (("wiki", 0), ("wiki-db", 1)):
        given = stack.get("container", name)
        envs = [*given.inputs["envs"]]
        envs[index] += "x"
        other = whole(replace(changed(given, ("envs",), _setter(envs)), secrets=frozenset({("envs",)})))
        messages = said(other, declared())
        assert messages
        assert CANARY not in "\n".join(messages)


def test_a_secret_is_in_the_state_as_a_secret_only() -> None:
    """The engine knows every secret that the program hands to a provider as a secret."""
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


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "with its list"])
def test_a_copy_of_a_secret_is_found(whole: bool) -> None:
    """A secret of the wiki in another container is refused, under any name, also where a list is hidden."""
    made = [
        replace(each, secrets=frozenset(trail[:1] for trail in each.secrets)) if whole else each
        for each in resources()
    ]
    for key, place in (("wiki:db-password", "envs[3]"), ("wiki:session", "uploads[1].content")):
        stack = Stack(resources=[*made], config=site())
        old = stack.get("container", "names")
        other = changed(old, ("envs",), _setter([f"X={CANARY}-{key}"]))
        stack.resources[stack.resources.index(old)] = other
        found = [each.message for each in stack.judge({RULE: RULES[RULE]}).findings]
        assert found in (
            [f"wiki: {place} is a secret of names"],
            ["names: envs[0] is a secret of wiki"],
            ["names: envs[0] is a secret of wiki-db"],
        ), found


def test_an_exported_state_passes() -> None:
    """In an exported state secrets are hidden, a variable's name with its value; the rule accepts it."""
    other = changed(container("wiki"), ("envs", 3), _setter(HIDDEN))
    assert said(other, declared()) == []
    twice = changed(other, ("envs",), _setter([*other.inputs["envs"], HIDDEN]))
    assert said(twice, declared()) != []


UNREADABLE = "cannot be read (No such file or directory); write it beside the stack file."


def test_missing_and_clear_secrets_are_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each secret that is missing or in clear, and each file that cannot be read, is a line of one error.

    Beside an engine the program ends with 32, after which Pulumi adds no error of its own.
    """
    config = site(**{"services.wiki.env_file": str(tmp_path / "none.env")})
    given = {f"homelab-network:{key}": value for key, value in config.items()}
    given |= {"grafana:adminPassword": "x", "wiki:session": CANARY}
    monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", '["grafana:adminPassword"]')
    monkeypatch.setattr(sdk, "mend", lambda: None)  # it would last as long as this process
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "error", told.append)
    with pytest.raises(SystemExit) as ended:
        program.resources(given)
    (said,) = told
    assert (ended.value.code, said.splitlines()) == (32, [
        "traefik:users: is missing; set it with `pulumi config set --secret traefik:users`.",
        "wiki:db-password: is missing; set it with `pulumi config set --secret wiki:db-password`.",
        "wiki:session: is in clear; set it with `pulumi config set --secret wiki:session`.",
        f"services.wiki.env_file[0]: {tmp_path}/none.env {UNREADABLE}",
    ])  # fmt: skip


SPANS = {1: "1ms", 1000: "1s", 1500: "1.5s", 60_000: "1m0s", 90_000: "1m30s", 3_600_000: "1h0m0s", 0: "0s"}


@pytest.mark.parametrize(("milliseconds", "text"), SPANS.items())
def test_a_length_of_time_is_written_as_go_does(milliseconds: int, text: str) -> None:
    """The provider reads Go's form back, so any other would be a change in each `up`."""
    assert span(milliseconds) == text


SEED, BROKEN = 20261130, 400


def test_no_change_of_a_word_ends_in_a_traceback() -> None:
    """Random values in place of words load or are refused, one line each, without a secret-like value."""
    draw, refused = random.Random(SEED), 0  # noqa: S311  # a shape, not a secret
    for _ in range(BROKEN):
        values = site()
        for name in NAMES:
            values["services"][name] = fuzz_changes.changed(draw, values["services"][name])
        values["volumes"] = fuzz_changes.changed(draw, {"volumes": values["volumes"]}).get("volumes", {})
        with suppress(ConfigError):
            load(values)
            continue
        refused += 1
        with pytest.raises(ConfigError) as told:
            load(values)
        assert len(str(told.value).splitlines()) == len(told.value.faults), str(told.value)
    assert refused > BROKEN // 2


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


EXCEPTION = {"reason": "the wiki's hardware needs it", "owner": "me", "expires": "2099-01-01"}
WEAKER: list[tuple[dict[str, Any], str, str]] = [
    ({"services.wiki.cap_add": ["SYS_TIME"]}, "no-privileges", "wiki"),
    ({"services.wiki.devices": ["/dev/ttyUSB0:/dev/zigbee:rw"]}, "no-devices", "wiki"),
    ({"services.wiki.user": "0:0"}, "containers-not-root", "wiki"),
    ({"services.wiki.volumes": ["/srv/media:/media"]}, "host-folders-read-only", "wiki"),
    ({"services.names.read_only": False}, "root-read-only", "names"),
    (
        {"volumes.wiki": {"driver_opts": {"type": "nfs", "o": "addr=10.10.1.9,ro", "device": ":/wiki"}}}
        | {"services.wiki-db.volumes": ["db:/var/lib/postgresql/data", "wiki:/share"]},
        "volumes-are-local",
        "wiki-db-wiki",
    ),
]
"""What weakens a container: a change, the rule that refuses it, and the resource that an exception names."""


@pytest.mark.parametrize(("change", "rule", "resource"), WEAKER, ids=[rule for _, rule, _ in WEAKER])
def test_what_weakens_needs_one_exception(change: dict[str, Any], rule: str, resource: str) -> None:
    """A word that breaks a rule is refused by it alone, and accepted with one exception for it."""
    config = site(**change)
    assert [each.partition(":")[0] for each in findings(config)] == [rule]
    config["exceptions"] = [{"rule": rule, "resource": resource, **EXCEPTION}]
    assert findings(config) == []


def test_an_exception_opens_no_other_file_server() -> None:
    """With an exception for a file server's volume, another server or folder is still refused."""
    change, rule, resource = WEAKER[-1]
    config = site(**change) | {"exceptions": [{"rule": rule, "resource": resource, **EXCEPTION}]}
    for key, value in (("o", "addr=10.10.1.10"), ("device", ":/"), ("type", "cifs"), ("more", "x")):
        stack = Stack(resources=run(config), config=config)
        stack.inputs("volume", resource)["driverOpts"][key] = value
        assert {finding.rule for finding in stack.judge().findings} == {"volumes-as-rendered"}


GRAFANA: dict[str, Any] = {
    "services.grafana.environment": {"GF_SMTP_PASSWORD": {"secret": "mail:password"}},
    "services.grafana.secrets": {"/etc/grafana/oauth": "oauth:secret"},
    "services.grafana.volumes": ["plugins:/srv/plugins", "/srv/boards:/srv/boards:ro"],
    "services.grafana.labels": {"org.example.team": "home"},
    "services.grafana.cpus": 2,
}


def test_an_app_takes_words_beside_its_own() -> None:
    """A known app's container has its own settings and the declared ones, and both are compared."""
    config = site(**GRAFANA)
    made = run(config)
    assert findings(config, made) == []
    inputs = Stack(resources=made).inputs("container", "grafana")
    assert {each["containerPath"] for each in inputs["volumes"]} >= {"/srv/plugins", "/srv/boards"}
    assert f"GF_SMTP_PASSWORD={CANARY}-mail:password" in inputs["envs"]
    assert {finding.subject for finding in Stack(resources=made, config=site()).judge().findings} >= {
        "grafana"
    }


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"services.grafana.volumes": ["x:/var/lib/grafana"]}, "volumes[0]"),
        ({"services.grafana.volumes": ["x:/var/lib"]}, "volumes[0]"),
        ({"services.grafana.volumes": ["data:/x"]}, "volumes[0]"),
        ({"services.grafana.volumes": ["x:/etc/grafana/provisioning"]}, "volumes[0]"),
        ({"services.grafana.volumes": ["x:/etc/grafana/provisioning/plugins:ro"]}, "volumes[0]"),
        ({"services.grafana.volumes": ["/srv/x:/etc/grafana/provisioning/datasources/x:ro"]}, "volumes[0]"),
        ({"services.grafana.volumes": ["uploads:/var/lib/grafana/plugins:ro"]}, "volumes[0]"),
        (
            {"services.grafana.secrets": {"/etc/grafana/admin-password": "x:y"}},
            'secrets["/etc/grafana/admin-password"]',
        ),
        (
            {"services.grafana.environment": {"GF_USERS_ALLOW_SIGN_UP": {"secret": "x:y"}}},
            "environment.GF_USERS_ALLOW_SIGN_UP",
        ),
    ],
    ids=str,
)
def test_a_word_replaces_nothing_of_an_apps_own(change: dict[str, Any], key: str) -> None:
    """A volume, secret or variable in the place of an app's own is refused."""
    message = f"grafana: services.grafana.{key} would replace what grafana sets itself; leave it out"
    assert f"containers-as-rendered: {message}" in findings(site(**change))


@pytest.mark.parametrize(
    "target",
    [
        *("/bin", "/usr", "/usr/local/bin", "/usr/local/bin/wiki", "/lib/x86_64-linux-gnu", "/usr/lib/wiki"),
        *("/usr/lib/data", "/usr/lib/wiki/bin", "/usr/lib/wiki/data/bin", "/usr/bin/wiki/data"),
    ],
)
def test_a_volume_replaces_no_program(target: str) -> None:
    """A volume over folders of programs is refused, also one of another service."""
    for source in ("own", "db", "/srv/bin"):
        found = findings(site(**{"services.wiki.volumes": [f"{source}:{target}:ro"]}))
        place = f"wiki: {target} is mounted over, where the image has its programs"
        assert f"programs-are-the-images: {place}" in found


@pytest.mark.parametrize(
    "target",
    [
        *("/usr/share/nginx/html", "/usr/src/app/upload", "/opt/wiki/data", "/opt/wiki/plugins", "/etc/wiki"),
        *("/var/lib/wiki", "/usr/lib/wiki/data", "/usr/local/lib/wiki/logs"),
    ],
)
def test_a_volume_is_data_beside_programs(target: str) -> None:
    """Folders of data beside programs, as images have them, take a volume."""
    assert findings(site(**{"services.wiki.volumes": [f"uploads:{target}"]})) == []


def test_an_external_volume_is_not_made() -> None:
    """A volume that is there already is mounted by its name, and no resource of the stack."""
    assert container("names").inputs["volumes"] == [{"containerPath": "/zones", "volumeName": "zones_of_old"}]
    assert not any("zones_of_old" in resource.name for resource in resources())


def test_what_depends_is_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container names those that it depends on, in any order of the stack file."""
    asked: dict[str, list[str]] = {}
    made = docker.Container.__init__

    def keep(self: Any, called: str, *args: Any, **given: Any) -> None:
        after = [each for each in given["opts"].depends_on if isinstance(each, docker.Container)]
        asked[called] = [each._name for each in after]
        made(self, called, *args, **given)

    monkeypatch.setattr(docker.Container, "__init__", keep)
    run(site())
    assert {name: after for name, after in asked.items() if after} == {
        "wiki": ["wiki-db"],
        "names": ["wiki-db"],
    }


def test_the_documented_example_is_accepted() -> None:
    """The document's wiki with its database is a site that the pack accepts, with its secret in files."""
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    part = text.partition("\n#### Any service\n")[2]
    example = own(yaml.safe_load(part.partition("```yaml\n")[2].partition("```")[0])["config"])
    config = site()
    config["services"] |= example["services"]
    config["flows"][-3:], config["unencrypted"][-2:] = example["flows"], example["unencrypted"]
    del config["services"]["names"], config["volumes"]
    assert findings(config) == []


READER = {
    "zones": ["query"],
    "image": "example/cron:1.0",
    "volumes": ["uploads:/uploads:ro", "logs:/logs:ro"],
}
SHARED = {"services.backup": READER, "services.traefik.volumes": ["logs:/var/log/traefik"]}
"""A service that reads a volume of the wiki, and one of the ingress."""


def test_a_volume_may_be_read_by_others() -> None:
    """One service writes a volume, which has its name, and another reads it; the pack finds nothing."""
    config = site(**SHARED)
    made = run(config)
    assert findings(config, made) == []
    names = [each.inputs["name"] for each in made if each.type.endswith(":Volume")]
    assert [names.count(name) for name in ("wiki-uploads", "traefik-logs")] == [1, 1]
    assert [name for name in names if name.startswith("backup-")] == []
    inputs = Stack(resources=made).inputs("container", "backup")
    assert inputs["volumes"] == [
        {"containerPath": "/uploads", "volumeName": "wiki-uploads", "readOnly": True},
        {"containerPath": "/logs", "volumeName": "traefik-logs", "readOnly": True},
    ]


def test_the_owner_of_a_volume_does_not_depend_on_the_order() -> None:
    """The engine hands services over by name, a file in its own order: a volume has one name in both."""
    config = site(**SHARED, **{"services.a-reader": READER})
    turned = {**config, "services": dict(reversed(config["services"].items()))}
    for each in (config, turned):
        topology = load(each)
        volumes, order = topology.named_volumes, [one.name for one in topology.containers_in_order]
        assert order.index("wiki") < order.index("backup")
        assert (volumes.name("uploads"), volumes.name("logs")) == ("wiki-uploads", "traefik-logs")


SHARES: dict[str, tuple[dict[str, Any], str, str]] = {
    "two write a volume": (
        {"services.cron": {**READER, "volumes": ["uploads:/uploads"]}},
        "wiki",
        "wiki: writes volume cron-uploads, as cron does",
    ),
    "two write a folder of the host": (
        {
            "services.cron": {**READER, "volumes": ["/srv/films/new:/new"]},
            "services.wiki.volumes": ["/srv/films:/films"],
            "exceptions": [
                {"rule": "host-folders-read-only", "resource": name, **EXCEPTION} for name in ("cron", "wiki")
            ],
        },
        "wiki",
        "wiki: writes /srv/films of the host, as cron does",
    ),
}


@pytest.mark.parametrize("name", SHARES)
def test_two_writers_need_an_exception(name: str) -> None:
    """What two services write is a way past the flows, and needs an exception that names the second."""
    change, resource, told = SHARES[name]
    config = site(**change)
    assert findings(config) == [f"volumes-not-shared: {told}"]
    excepted = {"rule": "volumes-not-shared", "resource": resource, **EXCEPTION}
    config["exceptions"] = [*config.get("exceptions", []), excepted]
    assert findings(config) == []


def test_a_folder_that_one_writes_may_be_read_by_others() -> None:
    """A folder of the host may have one writer, by exception, and readers."""
    config = site(
        **{
            "services.cron": {**READER, "volumes": ["/srv/media/new:/new"]},
            "exceptions": [{"rule": "host-folders-read-only", "resource": "cron", **EXCEPTION}],
        }
    )
    assert findings(config) == []


MOUNTS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "the reader writes": ("backup", [{"containerPath": "/uploads", "volumeName": "wiki-uploads"}]),
    "another reads": ("names", [{"containerPath": "/x", "volumeName": "wiki-uploads", "readOnly": True}]),
    "another reads the ingress's": (
        "names",
        [{"containerPath": "/x", "volumeName": "traefik-logs", "readOnly": True}],
    ),
    "the reader reads the database": (
        "backup",
        [{"containerPath": "/x", "volumeName": "wiki-db-db", "readOnly": True}],
    ),
    "the reader writes a second mount": (
        "backup",
        [
            {"containerPath": "/uploads", "volumeName": "wiki-uploads", "readOnly": True},
            {"containerPath": "/more", "volumeName": "wiki-uploads"},
        ],
    ),
}


@pytest.mark.parametrize("name", MOUNTS)
def test_an_undeclared_share_is_refused(name: str) -> None:
    """A mount of another's volume that the stack file does not declare is refused by the rule on volumes."""
    config, (container_, mounts) = site(**SHARED), MOUNTS[name]
    stack = Stack(resources=run(config), config=config)
    stack.inputs("container", container_)["volumes"] = mounts
    rules = {finding.rule for finding in stack.judge().findings}
    assert {"volumes-not-shared", "containers-as-rendered"} <= rules
