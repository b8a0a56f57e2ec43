"""How a Compose file is read: variables, forms, faults of the file, and that no secret is printed."""

from pathlib import Path

import pytest
import yaml

from commands import compose as command
from compose.fragment import _masked
from tests.policies.sound import CANARY
from topology.limits import HARMLESS_CAPABILITIES


def say(folder: Path, text: str, capsys: pytest.CaptureFixture[str], **files: str) -> tuple[int, str, str]:
    """Return exit status, output and errors for a file of a text, with files beside it."""
    (folder / "compose.yml").write_text(text)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    status = command.main([str(folder / "compose.yml")])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("services:\n  a:\n\t image: x", "compose.yml:3: "),
        ("services:\n  a: {image: x}\n  a: {image: y}\n", "compose.yml:3: the key a is written twice"),
        ("services:\n  a: [x]\n", "compose.yml:2: services.a is no mapping"),
        ("services:\n  b:\n    image: x:1\n    deploy: {resources: 5}\n", "compose.yml:2: services.b has"),
        ("services:\n  b: {image: x:1, environment: 5}\n", "services.b.environment has no form"),
        ("services:\n  b: {image: x:1, ports: '80'}\n", "compose.yml:2: services.b.ports has no form"),
        ("- a\n", "compose.yml:1: has no mapping services"),
        ("", "compose.yml:1: has no mapping services"),
        ("services:\n  a: {image: !!python/object:os.system x}\n", "compose.yml:2: "),
        ("services:\n  a: {image: 'x:${V'}\n", "services.a.image has a variable that does not end"),
        ("services:\n  a: {image: 'x:$'}\n", "services.a.image has a dollar sign alone"),
        ("services:\n  a: {image: 'x:${V:?no}'}\n", "services.a.image needs V"),
        ("services: " + "[" * 3000, "compose.yml:1: "),
        ("services:\n  A: {image: x:1}\n  a: {image: x:1}\n", "two services would be named a"),
        (("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
         "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
         "e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nservices: {a: {image: x:1}}\n"), "has too many values"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    """An unreadable file ends with status 2 and one line that names file and line; nothing is printed."""
    status, out, err = say(tmp_path, text, capsys)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file, and a broken .env, end with status 2 and one line."""
    assert command.main([str(tmp_path / "none.yml")]) == 2
    assert "cannot be read (No such file or directory)" in capsys.readouterr().err
    status, _, err = say(tmp_path, "services: {a: {image: x:1}}", capsys, _env="A=1\nnot a variable\n")
    assert (status, err.count("\n")) == (2, 1)
    assert ".env:2: is not a variable" in err


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("$A", "one"),
        ("${A}", "one"),
        ("${NONE:-two}", "two"),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY-two}", ""),
        ("${NONE-${A}x}", "onex"),
        ("${A:+three}", "three"),
        ("${NONE:+three}", ""),
        ("$${A}", "$$${A}"),
        ("a $$b", "a $$b"),
        ("$Q", "four # five"),
        ("$R", "$$A"),
        ("$S", "one!"),
    ],
)
def test_variables_are_replaced_as_compose_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str, read: str
) -> None:
    """Every form of a variable has Compose's meaning, with .env beside the file; $$ stays one dollar sign."""
    env = "A=one\nEMPTY=\nQ=\"four # five\" # six\nR='$A'\nexport S=${A}!\n"
    text = f"services:\n  a: {{image: 'x:1', environment: {{V: '{written}'}}}}\n"
    _, out, _ = say(tmp_path, text, capsys, _env=env)
    value = yaml.safe_load(out)["config"]["homelab-network:services"]["a"]["environment"]["V"]
    assert value == read.replace("$$${A}", "$${A}")


def test_yaml_is_read_as_compose_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`22:22` is a port and `yes` a text, merges and anchors work, and x- keys are left out."""
    text = (
        "x-base: &base {image: 'x:1', user: '1:1', environment: {A: yes, B: on}}\n"
        "services:\n  a: {<<: *base, ports: [80:80, 22:22]}\n"
    )
    status, out, err = say(tmp_path, text, capsys)
    service = yaml.safe_load(out)["config"]["homelab-network:services"]["a"]
    assert (status, service["ports"]) == (0, [80, 22])
    assert service["environment"] == {"A": "yes", "B": "on"}
    assert (service["streams"], err) == (["22:22"], "")


@pytest.mark.parametrize(
    ("entry", "ports"),
    [
        ("8080", [8080]),
        ("80:8080", [8080]),
        ("127.0.0.1:80:8080", [8080]),
        ("'[::1]:80:8080/tcp'", [8080]),
        ("'8000-8001:8000-8001'", [8000, 8001]),
        ("{target: 8080, published: 80}", [8080]),
        ("'53:53/udp'", ["53/udp"]),
    ],
)
def test_ports_in_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str, ports: list[object]
) -> None:
    """Short and long forms, addresses and ranges name the container's port."""
    _, out, _ = say(tmp_path, f"services: {{a: {{image: 'x:1', ports: [{entry}]}}}}", capsys)
    assert yaml.safe_load(out)["config"]["homelab-network:services"]["a"]["ports"] == ports


SECRETS = {
    "environment: {DB_PASSWORD: CANARY}": "a:db-password",
    "environment: {API_TOKEN: CANARY}": "a:api-token",
    "environment: {SECRET_KEY_BASE: CANARY}": "a:secret-key-base",
    "environment: [APIKEY=CANARY]": "a:apikey",
    "environment: {REDIS: 'redis://:CANARY@b/0'}": "a:redis",
    "environment: {URL: 'http://x/${DB_PASSWORD}'}": "a:url",
    "environment: {DB_PASSWORD: CANARY, OTHER: xCANARYx}": "a:other",
    "environment: {LOGIN: '$$2y$$10$$CANARY'}": "a:login",
}
NOWHERE = (
    "command: [run, --password=CANARY]",
    "command: [run, --password, CANARY]",
    "command: run --token CANARY",
    "command: 'run redis://:CANARY@b/0'",
    "command: 'run ${DB_PASSWORD}'",
    "entrypoint: [sh, -c, 'API_KEY=CANARY run']",
    "healthcheck: {test: 'curl -u x ${DB_PASSWORD}'}",
    "labels: {password: CANARY}",
    "labels: {x: '${DB_PASSWORD}'}",
    "volumes: ['/srv/${DB_PASSWORD}:/x:ro']",
    "hostname: '${DB_PASSWORD}'",
    "user: '${DB_PASSWORD}'",
    "image: 'x:${DB_PASSWORD}'",
    "env_file: '${DB_PASSWORD}'",
    "environment: {DB_PASSWORD: CANARY}\n    command: [run, CANARY]",
    "environment: {DB_PASSWORD: CANARY}\n    extra_hosts: ['CANARY:192.168.1.2']",
    "environment: {DB_PASSWORD: CANARY}\n    depends_on: [CANARY]",
    "x: '${DB_PASSWORD}'",
    "ports: ['${DB_PASSWORD}']",
    "expose: ['${DB_PASSWORD}']",
    "cap_add: ['${DB_PASSWORD}']",
    "devices: ['/dev/${DB_PASSWORD}']",
    "network_mode: 'service:${DB_PASSWORD}'",
    "profiles: ['${DB_PASSWORD}']",
    "working_dir: '/${DB_PASSWORD}'",
    "secrets: ['${DB_PASSWORD}']",
    "links: ['b:${DB_PASSWORD}']",
    "tmpfs: ['/${DB_PASSWORD}']",
    "sysctls: {net.core.somaxconn: '${DB_PASSWORD}'}",
    "dns: ['${DB_PASSWORD}']",
    "stop_signal: '${DB_PASSWORD}'",
    "labels: ['traefik.http.routers.a.rule=Host(`${DB_PASSWORD}.example`)']",
)


@pytest.mark.parametrize("line", [*SECRETS, *NOWHERE])
def test_no_place_of_a_secret_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """A secret in any key, in clear or from .env, is never printed; a variable gets a key and a command."""
    text = f"services:\n  a:\n    image: x:1\n    {line}\n".replace("CANARY", CANARY)
    if line.startswith("image"):
        text = text.replace("    image: x:1\n", "", 1)
    _, out, err = say(tmp_path, text, capsys, _env=f"DB_PASSWORD={CANARY}\n")
    assert CANARY not in out + err
    if key := SECRETS.get(line):
        assert f"{{secret: {key}}}" in out
        assert f"pulumi config set --secret {key}" in out


@pytest.mark.parametrize("name", sorted(HARMLESS_CAPABILITIES))
def test_capabilities_that_the_pack_allows_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A capability that stays within the container needs no exception, with or without its prefix."""
    text = f"services:\n  a: {{image: x:1, cap_add: [CAP_{name}, ALL]}}\n"
    _, out, err = say(tmp_path, text, capsys)
    assert f"cap_add: [{name}]" in out
    assert f"CAP_{name}" not in out + err
    assert "CAP_ALL reaches beyond the container" in out + err


def test_a_repeated_secret_is_refused_and_masked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that repeats a secret is refused as such, and the last guard masks what no other has found."""
    text = (
        f"services: {{a: {{image: x:1, environment: {{DB_PASSWORD: {CANARY}}}, command: [run, {CANARY}]}}}}"
    )
    status, out, err = say(tmp_path, text, capsys)
    assert (status, "\n      command:" in out) == (1, False)
    assert "services.a.command: repeats a secret" in err
    assert [*_masked([f"x {CANARY}"], [CANARY])] == ["x <secret>"]


def test_a_volume_over_programs_is_refused_with_its_exception(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A volume where the image has programs is refused, as the pack does, and one beside them is taken."""
    over = "scripts:/usr/lib/x/scripts, ./bin:/usr/local/bin, /srv/x:/lib/x:ro"
    mounts = f"[{over}, data:/usr/lib/x/data, more:/opt/x/plugins]"
    status, out, err = say(tmp_path, f"services: {{a: {{image: 'x:1', volumes: {mounts}}}}}", capsys)
    service = yaml.safe_load(out)["config"]["homelab-network:services"]["a"]
    assert (status, service["volumes"]) == (1, ["data:/usr/lib/x/data", "more:/opt/x/plugins"])
    for index, target in enumerate(("/usr/lib/x/scripts", "/usr/local/bin", "/lib/x")):
        assert f"services.a.volumes[{index}]: {target} is where the image has its programs; " in err
    assert "programs-are-the-images" in out
