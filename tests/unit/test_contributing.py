"""The worked examples of CONTRIBUTING.md and other documented snippets, executed on a copy of this tree."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.clone import environment
from tests.documents import blocks
from topology.project import PROJECT

CONTRIBUTING = PROJECT / "CONTRIBUTING.md"
STACK = "Pulumi.dev.yaml"
FILES = r"^\| (Add .*) \| (\d+) \| (\d+) \| (\d+) \|$"
Answer = subprocess.CompletedProcess[str]


def run(tree: Path, *words: str, given: str | None = None) -> Answer:
    """Run a program in the clone."""
    return subprocess.run(
        words,
        cwd=tree,
        env=environment(tree) | {"MAKEFLAGS": "", "MAKELEVEL": "0"},
        input=given,
        check=False,
        capture_output=True,
        text=True,
    )


def python(tree: Path, *words: str) -> Answer:
    """Run Python in the clone."""
    return run(tree, sys.executable, "-m", *words)


def example(heading: str) -> str:
    """Return the one diff of a worked example."""
    (diff,) = blocks(CONTRIBUTING, "diff", heading)
    return diff


def apply(tree: Path, diff: str, *options: str) -> None:
    """Apply a diff to the clone."""
    done = run(tree, "git", "apply", *options, "-", given=diff)
    assert done.returncode == 0, done.stderr


def added(diff: str) -> list[str]:
    """Return the lines that a diff adds."""
    return [line[1:] for line in diff.splitlines() if re.match(r"\+(?!\+\+ )", line)]


def judged(tree: Path) -> tuple[int, str]:
    """Return the pack's verdict about the clone's stack."""
    done = python(tree, "commands", "judge", STACK)
    return done.returncode, done.stdout + done.stderr


# --------------------------------------------------------------------------------------- add a service


def test_a_service_is_six_lines_or_fewer() -> None:
    """A new service takes at most six lines of one file, and the README shows the same lines."""
    diff = example("## Add a service")
    assert re.findall(r"^\+\+\+ b/(.*)$", diff, re.MULTILINE) == [STACK]
    assert 0 < len(added(diff)) <= 6
    assert added(diff) == [
        line for block in blocks(PROJECT / "README.md", "yaml", "## Change it") for line in block.splitlines()
    ]


def test_a_service_is_proved(tree: Path) -> None:
    """With the example the pack finds nothing, the flow is possible, and the documented commands show it."""
    before = python(tree, "commands", "list", STACK).stdout
    apply(tree, example("## Add a service"))
    assert judged(tree) == (0, "")
    after = python(tree, "commands", "list", STACK).stdout
    (opened,) = [
        line
        for line in after.splitlines()
        if line not in before.splitlines() and line.startswith("  internet,")
    ]
    assert opened.endswith(" => wiki : 3000/tcp")
    # With an empty READY, make uses this environment.
    diff = run(tree, "make", "diff", "BASE=HEAD", "READY=", f"VENV={sys.prefix}")
    assert diff.returncode == 0, diff.stderr
    assert "| opens | `traefik -> wiki:3000/tcp` | `vlan20 -> wiki` | declared |  |" in diff.stdout


def test_a_service_is_taken_away_by_its_lines(tree: Path) -> None:
    """Reverting the example restores the tree."""
    apply(tree, example("## Add a service"))
    apply(tree, example("## Add a service"), "--reverse")
    assert run(tree, "git", "status", "--porcelain").stdout == ""


# --------------------------------------------------------------------------------- what each touches


def touched(diff: str) -> list[str]:
    """Return the files that a diff changes or adds."""
    return re.findall(r"^\+\+\+ b/(.*)$", diff, re.MULTILINE)


def test_the_examples_touch_as_many_files_as_is_said() -> None:
    """The table of files agrees with the examples; an app is at most three besides test and documentation."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    told = {name: [*map(int, found)] for name, *found in re.findall(FILES, text, re.MULTILINE)}
    counted = {}
    for name in re.findall(r"^## (Add .*)$", text, re.MULTILINE):
        files = touched(example(f"## {name}"))
        outside = [len([file for file in files if file.startswith(top)]) for top in ("tests/", "docs/")]
        counted[name] = [len(files) - sum(outside), *outside]
    assert told == counted
    assert counted["Add an app"][0] <= 3


# ------------------------------------------------------------ add an app, a role, and a kind of guest

TABLES = "tests/unit/test_tables.py"
HUB = {
    "kind": "appliance",
    "template": 9100,
    "zone": "apps",
    "vmid": 203,
    "address": "10.10.20.13",
    "ports": [22],
}
NOTIFY = {"zones": ["frontend"], "image": "example/ntfy:2.11.0", "ports": [2586], "app": "ntfy"}
ROLE = """
from policies.review import sensitive
from topology.config import from_file
from pathlib import Path
print(sensitive(from_file(Path("Pulumi.dev.yaml")), "traefik", "jellyfin"))
"""


def told(tree: Path, *words: str) -> str:
    """Return pytest's output for tests in the clone."""
    done = python(tree, "pytest", "-q", "--tb=short", *words)
    return done.stdout + done.stderr


def write_schema(tree: Path, heading: str) -> None:
    """Write the clone's schema with the documented command."""
    (command,) = blocks(CONTRIBUTING, "sh", heading)
    assert command == ".venv/bin/python -m commands schema\n"
    assert python(tree, "commands", "schema").returncode == 0


def test_an_app_is_complete(tree: Path) -> None:
    """With the example the tables are complete and documented, the test passes, a service is accepted."""
    apply(tree, example("## Add an app"))
    write_schema(tree, "## Add an app")
    said = told(tree, TABLES, "tests/unit/test_ntfy.py")
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    _change_stack(tree, services={"notify": NOTIFY}, flows=["traefik -> notify:2586/tcp"])
    assert judged(tree) == (0, "")
    assert _style(tree, "rendered", "topology", "tests/unit") == "All checks passed!\n"


@pytest.mark.parametrize(
    ("forgotten", "named"),
    [
        ("docs/*", "docs/configuration.md: ntfy: no row | ntfy | passes notifications on"),
        ("rendered/apps/__init__.py", "RUNTIMES: no row for App.NTFY; add one for each"),
    ],
)
def test_half_an_app_is_named(tree: Path, forgotten: str, named: str) -> None:
    """A test names the app and the table that lacks its row."""
    apply(tree, example("## Add an app"), f"--exclude={forgotten}")
    said = told(tree, f"{TABLES}::test_every_app_is_documented")
    assert named in said, said


def test_a_forgotten_column_is_named_by_mypy(tree: Path) -> None:
    """Mypy reports a row that lacks a column."""
    apply(tree, example("## Add an app"))
    file = tree / "topology" / "model" / "apps.py"
    before, _, after = file.read_text(encoding="utf-8").rpartition("            watches=False,\n")
    file.write_text(before + after, encoding="utf-8")
    done = python(tree, "mypy", "topology/model/apps.py")
    assert 'Missing named argument "watches" for "AppTraits"' in done.stdout, done.stdout


def test_a_role_is_complete(tree: Path) -> None:
    """With the example the table is complete and documented, a zone is accepted, a review knows the role."""
    apply(tree, example("## Add a role"))
    write_schema(tree, "## Add a role")
    said = told(tree, TABLES)
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    file = tree / STACK
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("apps: {role: tenant,", "apps: {role: private,"), encoding="utf-8")
    assert judged(tree) == (0, "")
    assert run(tree, sys.executable, "-c", ROLE).stdout == "private\n"
    assert _style(tree, "topology") == "All checks passed!\n"


def test_half_a_role_is_named(tree: Path) -> None:
    """A test names a role without documentation, and a role without a row."""
    diff = example("## Add a role")
    apply(tree, diff, "--exclude=docs/*")
    said = told(tree, f"{TABLES}::test_every_role_is_documented")
    assert "docs/configuration.md: private: no row | private | VLAN with guests" in said, said
    file = tree / "topology" / "model" / "roles.py"
    text = file.read_text(encoding="utf-8")
    row = text[
        text.index("        Role.PRIVATE: RoleTraits(") : text.index("        Role.ISOLATED: RoleTraits(")
    ]
    file.write_text(text.replace(row, ""), encoding="utf-8")
    said = told(tree, f"{TABLES}::test_every_role_is_documented")
    assert "ROLES: no row for Role.PRIVATE; add one for each" in said, said


def test_a_kind_of_guest_is_complete(tree: Path) -> None:
    """With the example the tables are complete and documented, its tests pass, a guest is accepted."""
    apply(tree, example("## Add a guest kind"))
    write_schema(tree, "## Add a guest kind")
    said = told(tree, TABLES, "tests/unit/test_appliance.py")
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    _change_stack(tree, services={"hub": HUB}, flows=["management -> hub:22/tcp"])
    assert judged(tree) == (0, "")
    assert _style(tree, "topology", "tests/unit") == "All checks passed!\n"


@pytest.mark.parametrize(
    ("forgotten", "named"),
    [
        ("docs/*", "docs/configuration.md: appliance: no row | appliance | virtual machine, cloned from"),
        ("topology/model/guest_kinds.py", "Appliance: 0 kinds"),
    ],
)
def test_half_a_kind_of_guest_is_named(tree: Path, forgotten: str, named: str) -> None:
    """A test names a kind without documentation, and a class of guests without a row."""
    apply(tree, example("## Add a guest kind"), f"--exclude={forgotten}")
    said = told(tree, TABLES, "-k", "kind")
    assert named in said, said


def test_a_kind_of_guest_without_a_row_is_named(tree: Path) -> None:
    """The program stops at a kind whose row was forgotten."""
    apply(tree, example("## Add a guest kind"))
    file = tree / "topology" / "model" / "guest_kinds.py"
    before, row, after = file.read_text(encoding="utf-8").partition("        GuestKind.APPLIANCE: ")
    file.write_text(before + after[after.index("    },\n)") :], encoding="utf-8")
    assert row
    status, said = judged(tree)
    assert (status, "GUEST_KINDS: no row for GuestKind.APPLIANCE; add one for each" in said) == (1, True), (
        said
    )


def _change_stack(tree: Path, services: dict[str, object], flows: list[str]) -> None:
    """Add services and flows to the clone's stack file."""
    file = tree / STACK
    stack = yaml.safe_load(file.read_text(encoding="utf-8"))
    stack["config"]["homelab-network:services"] |= services
    stack["config"]["homelab-network:flows"] += flows
    file.write_text(yaml.safe_dump(stack, sort_keys=False), encoding="utf-8")


# ------------------------------------------------------------------------------------------ add a rule


def test_a_rule_is_complete(tree: Path) -> None:
    """The example's rule, rejected stack and table pass the tests about rules, and the style checks."""
    apply(tree, example("## Add a rule"))
    write_table(tree)
    done = python(
        tree,
        "pytest",
        "-q",
        "tests/policies/test_rules.py::test_every_rule_has_a_stack_that_it_rejects",
        "tests/policies/test_rules.py::test_the_sound_stack_has_no_finding",
        "tests/policies/test_rules.py::test_the_stack_is_rejected[memory-modest-memory_for_one]",
        "tests/unit/test_policies.py::test_the_table_in_the_docs_is_current",
    )
    assert "4 passed" in done.stdout, done.stdout
    assert _style(tree) == "All checks passed!\n"


def test_a_rule_refuses(tree: Path) -> None:
    """The new rule applies to the stack file at once, with its own message."""
    file = tree / STACK
    greedy = file.read_text(encoding="utf-8").replace("memory: 512", "memory: 32768", 1)
    file.write_text(greedy, encoding="utf-8")
    assert judged(tree) == (0, "")
    apply(tree, example("## Add a rule"))
    status, said = judged(tree)
    assert (status, "prometheus: takes 32768 MiB of memory, more than 16384" in said) == (1, True), said


def test_half_a_rule_is_noticed(tree: Path) -> None:
    """A rule without a rejected stack, or without its row in the table, fails the tests."""
    apply(tree, example("## Add a rule"), "--exclude=tests/*")
    done = python(
        tree,
        "pytest",
        "-q",
        "tests/policies/test_rules.py::test_every_rule_has_a_stack_that_it_rejects",
        "tests/unit/test_policies.py::test_the_table_in_the_docs_is_current",
    )
    assert "2 failed" in done.stdout, done.stdout


def write_table(tree: Path) -> None:
    """Replace the table in docs/policies.md with the output of the documented command."""
    (commands,) = blocks(CONTRIBUTING, "sh", "## Add a rule")
    assert commands.startswith(".venv/bin/python -m commands rules\n")
    table = python(tree, "commands", "rules").stdout
    file = tree / "docs" / "policies.md"
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: text.index(table.splitlines()[0])] + table, encoding="utf-8")


def _style(tree: Path, *folders: str) -> str:
    where = folders or ("policies", "resources", "tests/policies")
    done = python(tree, "ruff", "check", *where)
    formatted = python(tree, "ruff", "format", "--check", "--quiet", *where)
    return done.stdout + formatted.stdout


# --------------------------------------------------------------------------------- add a provider type

JUDGE = """
from tests.policies.sound import sound
stack = sound()
stack.add("proxmoxve:download/file:File", "debian", {"url": "https://example.org/x", %s})
print(*stack.judge().findings, sep="\\n")
"""


def said_of_a_download(tree: Path, inputs: str) -> str:
    """Return the pack's findings about the sound stack with a download in the clone."""
    done = run(tree, sys.executable, "-c", JUDGE % inputs)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_type_is_known_once_it_is_taught(tree: Path) -> None:
    """A refused provider type passes once added, and its dangerous and unknown properties are refused."""
    diff = example("## Add a provider type")
    kind = "proxmoxve:download/file:File is not understood"
    assert kind in said_of_a_download(tree, '"overwrite": True')
    apply(tree, diff)
    assert said_of_a_download(tree, '"overwrite": True') == ""
    assert said_of_a_download(tree, '"verify": False') == "debian: verify is off, so any server may answer"
    assert "debian: proxy is not understood" in said_of_a_download(tree, '"proxy": "x"')
    done = python(
        tree,
        "pytest",
        "-q",
        "tests/policies/test_rules.py::test_the_stack_is_rejected[peers-verified-an_image_from_anybody]",
    )
    assert "1 passed" in done.stdout, done.stdout
    assert _style(tree) == "All checks passed!\n"


# -------------------------------------------------------------------------------------------- snippets


@pytest.mark.parametrize("heading", ["### A new guest", "### A new container service"])
def test_the_configurations_snippets_hold(tree: Path, heading: str) -> None:
    """With the snippets of docs/configuration.md the stack has no finding."""
    service, flow, *plain = blocks(PROJECT / "docs" / "configuration.md", "yaml", heading)
    file = tree / STACK
    stack = yaml.safe_load(file.read_text(encoding="utf-8"))
    stack["config"]["homelab-network:services"] |= yaml.safe_load(service)
    stack["config"]["homelab-network:flows"] += yaml.safe_load(flow)
    stack["config"]["homelab-network:unencrypted"] += [
        each for text in plain for each in yaml.safe_load(text)
    ]
    file.write_text(yaml.safe_dump(stack, sort_keys=False), encoding="utf-8")
    assert judged(tree) == (0, "")
