"""Pull requests end to end: a repository with this tree, a change, and the command's output."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clone import environment, git
from tests.pull_requests import FOLDER

STACK = "Pulumi.dev.yaml"
VAULT = "    - traefik -> vaultwarden:80/tcp\n"
WIKI = "    wiki: {zone: apps, vmid: 203, address: 10.10.20.13, ports: [3000]}\n"
OPENS_A_FLOW = (FOLDER / "new-route.md").read_text(encoding="utf-8")
VAULT_PLAIN = "    - {flow: traefik -> vaultwarden:80/tcp, reason: the lab's stand-in speaks no TLS}\n"
PLAIN = "    - {flow: traefik -> wiki:3000/tcp, reason: it speaks no TLS}\n"
PUBLIC_CADVISOR = "| opens | `internet -> cadvisor:8080/tcp` | `docker-srv:8080/tcp -> cadvisor`"
Answer = subprocess.CompletedProcess[str]


def edit(tree: Path, file: str, *changes: tuple[str, str]) -> None:
    """Change a file; each old text must occur once."""
    text = (tree / file).read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (tree / file).write_text(text, encoding="utf-8")


def review(tree: Path, base: str = "main", file: str = STACK, *options: str) -> Answer:
    """Return the command's answer about the tree against a commit; no copy of the commit remains."""
    answer = subprocess.run(
        [sys.executable, "-m", "commands", "review", *options, "--", base, file],
        cwd=tree,
        env=environment(tree),
        check=False,
        capture_output=True,
        text=True,
    )
    assert list((tree.parent / "temporary").iterdir()) == []
    return answer


def add_wiki(tree: Path) -> None:
    """Add a guest, and the flow that routes to it."""
    edit(
        tree,
        STACK,
        ("    vaultwarden: {", f"{WIKI}    vaultwarden: {{"),
        (VAULT, f"{VAULT}    - traefik -> wiki:3000/tcp\n"),
        ("  grafana:adminPassword", f"{PLAIN}  grafana:adminPassword"),
    )


# --------------------------------------------------------------------------------------------- changes


def test_a_change_that_opens_a_declared_flow(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The comment names the declared flow and every flow that follows from it; no check fails."""
    add_wiki(tree)
    answer = review(tree)
    with capsys.disabled():
        print(f"\n{answer.stdout}")
    assert (answer.stdout, answer.stderr, answer.returncode) == (OPENS_A_FLOW, "", 0)


def test_make_diff_is_that_command(tree: Path) -> None:
    """`make diff` prints the same text and writes it to MARKDOWN."""
    add_wiki(tree)
    # With an empty READY, make uses this environment.
    words = ["BASE=main", "MARKDOWN=flows.md", "SARIF=flows.sarif", "READY=", f"VENV={sys.prefix}"]
    answer = subprocess.run(
        ["make", "diff", *words],
        cwd=tree,
        env=environment(tree) | {"MAKEFLAGS": "", "MAKELEVEL": "0"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (answer.stdout, answer.returncode) == (OPENS_A_FLOW, 0)
    assert (tree / "flows.md").read_text(encoding="utf-8") == OPENS_A_FLOW
    assert json.loads((tree / "flows.sarif").read_text(encoding="utf-8"))["runs"][0]["results"] == []


def test_nothing_changed(tree: Path) -> None:
    """A change without an effect gives one line."""
    edit(tree, STACK, ("  homelab-network:domain:", "  # a comment\n  homelab-network:domain:"))
    answer = review(tree)
    assert (answer.stdout, answer.returncode) == ("**dev:** No flow opens or closes.\n", 0)


def test_a_closed_flow_and_a_sensitive_one_that_opens_again(tree: Path) -> None:
    """A closed flow is shown with its old trace, a flow to an isolated zone with the label that it needs."""
    with_it = (tree / STACK).read_text(encoding="utf-8")
    plain = next(line for line in with_it.splitlines(keepends=True) if "{flow: traefik -> vault" in line)
    edit(tree, STACK, (VAULT, ""), (plain, ""))
    closed = review(tree)
    git(tree, "commit", "--quiet", "--all", "--message=without")
    (tree / STACK).write_text(with_it, encoding="utf-8")
    opened = review(tree, "HEAD")
    assert (closed.returncode, opened.returncode) == (0, 0)
    assert closed.stdout.startswith("**dev:** No longer from the internet: vaultwarden, through traefik.\n")
    way = "`internet -> vaultwarden:80/tcp` | `traefik -> vlan30 -> vaultwarden` | follows |  |"
    assert f"| closes | {way}\n" in closed.stdout
    assert "**A sensitive flow opens**: a reviewer sets the label `flows-reviewed`." in opened.stdout
    assert (
        "| opens | `traefik -> vaultwarden:80/tcp` | `vlan30 -> vaultwarden` | declared | isolated |"
        in opened.stdout
    )


WITH_LOKI = """def _with_loki(routes):
    http = routes["http"]
    http["routers"]["loki"] = {"rule": "Host(`loki`)", "entryPoints": [_WEBSECURE], "service": "loki"}
    http["services"]["loki"] = {"loadBalancer": {"servers": [{"url": "http://loki:3100"}]}}
    return routes


"""


def joining(service: str, network: str) -> tuple[str, str]:
    """Return the edit of components/container.py by which a service joins another network."""
    made = "docker.ContainerNetworksAdvancedArgs(name=args.networks[n])"
    added = f"+ [{made} for n in ['{network}'][: service.name == '{service}']],"
    before = "for zone in (*service.zones, *topology.legs.of(service.name))\n            ]"
    return f"{before},", f"{before}\n            {added}"


def route_loki(tree: Path) -> None:
    """Route to Loki in code, against the stack file."""
    edit(
        tree,
        "rendered/apps/traefik.py",
        ("as_yaml(_routes(topology) |", "as_yaml(_with_loki(_routes(topology)) |"),
        ("def _tls(", f"{WITH_LOKI}def _tls("),
    )
    edit(
        tree,
        "components/container.py",
        joining("loki", "frontend"),
    )


PUBLISHED = """else [
            {"internal": 8080, "external": 8080, "ip": str(topology.docker.address), "protocol": "tcp"}
        ][: service.name == "cadvisor"],"""


def publish_cadvisor(tree: Path) -> None:
    """Publish cAdvisor on a port of the host in code, on a network with egress."""
    edit(tree, "rendered/container.py", ("else [],", PUBLISHED))
    edit(
        tree,
        "components/container.py",
        joining("cadvisor", "edge"),
    )


@pytest.mark.parametrize(
    ("change", "opened", "findings"),
    [
        (
            route_loki,
            "| opens | `traefik -> loki:*` | `frontend -> loki` | **refused** | backend |",
            {"undeclared-flows", "routes-declared", "containers-on-their-zones"},
        ),
        (
            publish_cadvisor,
            f"{PUBLIC_CADVISOR} | **refused** | backend |",
            {"roles-hold", "only-the-ingress-publishes", "containers-on-their-zones"},
        ),
    ],
    ids=["loki-routed", "cadvisor-published"],
)
def test_a_change_that_exposes_a_backend_service_fails(
    tree: Path,
    change: Callable[[Path], None],
    opened: str,
    findings: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Code that exposes a backend service is reported as refused, with the rules that it breaks."""
    change(tree)
    answer = review(tree, "main", STACK, "--markdown", "flows.md", "--sarif", "flows.sarif")
    with capsys.disabled():
        print(f"\n{answer.stdout}{answer.stderr}")
    assert answer.returncode == 1
    assert (tree / "flows.md").read_text(encoding="utf-8") == answer.stdout
    assert opened in answer.stdout.splitlines()
    (run,) = json.loads((tree / "flows.sarif").read_text(encoding="utf-8"))["runs"]
    assert findings <= {result["ruleId"] for result in run["results"]}


def test_a_stack_file_that_routes_to_the_backend_is_refused(tree: Path) -> None:
    """A declared route to Loki is a faulty stack file: nothing is compared, and the comment says why."""
    edit(tree, STACK, (VAULT, f"{VAULT}    - traefik -> loki:3100/tcp\n"))
    answer = review(tree, "main", STACK, "--markdown", "flows.md", "--sarif", "flows.sarif")
    assert (answer.stdout, answer.returncode) == ("", 2)
    assert re.fullmatch(
        r"Pulumi\.dev\.yaml:\d+: flows\[\d+\]: traefik -> loki:3100/tcp .*; .*\.\n", answer.stderr
    )
    text = (tree / "flows.md").read_text(encoding="utf-8")
    assert text == f"**dev: refused**, nothing was judged. To mend:\n\n- `{answer.stderr.strip()}`\n"
    assert not (tree / "flows.sarif").exists()


def test_an_exception_is_shown_as_one(tree: Path) -> None:
    """A flow with an exception is no finding, and is shown as excepted."""
    publish_cadvisor(tree)
    excepted = [
        ("only-the-ingress-publishes", "cadvisor"),
        ("containers-on-their-zones", "cadvisor"),
        ("roles-hold", "internet -> cadvisor:8080/tcp"),
        ("roles-hold", "management -> cadvisor:8080/tcp"),
        ("undeclared-flows", "blackbox-exporter -> cadvisor:8080/tcp"),
    ]
    lines = [
        f"    - {{rule: {rule}, resource: '{subject}', reason: for a test, owner: me, expires: 2999-01-01}}"
        for rule, subject in excepted
    ]
    edit(
        tree,
        STACK,
        (
            "  grafana:adminPassword",
            f"  homelab-network:exceptions:\n{chr(10).join(lines)}\n  grafana:adminPassword",
        ),
    )
    answer = review(tree)
    assert answer.returncode == 0, answer.stdout
    assert f"{PUBLIC_CADVISOR} | excepted | backend |" in answer.stdout


# ------------------------------------------------------------------------------------------ both sides


def test_each_side_is_told_by_its_own_program(tree: Path) -> None:
    """Each side's flows come from its own code: reverting the base's change closes flows."""
    publish_cadvisor(tree)
    git(tree, "commit", "--quiet", "--all", "--message=published")
    git(tree, "checkout", "--quiet", "main~1", "--", "components", "rendered")
    answer = review(tree)
    assert answer.stdout.startswith("**dev:** No longer from the internet: cadvisor (8080/tcp), directly.")
    assert "| closes | `internet -> cadvisor:8080/tcp` | `docker-srv:8080/tcp -> cadvisor` |" in answer.stdout


def test_a_base_from_before_the_commands_is_asked_by_its_own_name(tree: Path) -> None:
    """A base commit that still has `policies.command` is compared too."""
    for module in ("arguments", "baseline"):
        edit(tree, "commands/flows.py", (f"from commands.{module}", f"from policies.{module}"))
    git(tree, "mv", "commands/flows.py", "policies/command.py")
    git(tree, "mv", "commands/arguments.py", "policies/arguments.py")
    git(tree, "mv", "commands/baseline.py", "policies/baseline.py")
    with (tree / "policies" / "command.py").open("a", encoding="utf-8") as file:
        file.write('\n\nif __name__ == "__main__":\n    sys.exit(main())\n')
    git(tree, "rm", "--quiet", "-r", "commands")
    git(tree, "commit", "--quiet", "--all", "--message=before")
    git(tree, "checkout", "--quiet", "main~1", "--", "commands")
    answer = review(tree)
    assert (answer.stdout.splitlines()[0], answer.returncode) == ("**dev:** No flow opens or closes.", 0)


def test_a_stack_that_the_base_does_not_have_is_new(tree: Path) -> None:
    """Every flow of a new stack is opened, and the review says why."""
    (tree / STACK).rename(tree / "Pulumi.home.yaml")
    answer = review(tree, "main", "Pulumi.home.yaml")
    lines = answer.stdout.splitlines()
    assert lines[0].startswith(
        "**home:** New from the internet: grafana, prometheus-ui, jellyfin, site-1 and "
    )
    assert lines[2] == "The base has no such stack, so all of its flows are new."
    assert answer.returncode == 0


def test_a_base_whose_stack_file_is_broken_can_not_be_compared(tree: Path) -> None:
    """The base's error message is printed after the base's name."""
    edit(tree, STACK, ("homelab-network:domain", "homelab-network:domian"))
    git(tree, "commit", "--quiet", "--all", "--message=broken")
    git(tree, "checkout", "--quiet", "main~1", "--", STACK)
    answer = review(tree)
    assert (answer.stdout, answer.returncode) == ("", 2)
    assert answer.stderr.startswith(
        "main: its program can't tell its flows (Pulumi.dev.yaml:6: domian: unknown key; write domain)"
    )


def test_a_base_without_this_command_can_not_be_compared(tree: Path) -> None:
    """A base whose program lacks the commands is bad input, without a traceback."""
    describe = '    "describe": ("every flow, and what else a reviewer compares, as JSON", ("file",)),\n'
    edit(
        tree,
        "commands/arguments.py",
        ('("site", "--source", "--zone", "--json")', '("site",)'),
        (describe, ""),
    )
    git(tree, "commit", "--quiet", "--all", "--message=older")
    git(tree, "checkout", "--quiet", "main~1", "--", "commands")
    answer = review(tree)
    assert (answer.stdout, answer.returncode, answer.stderr.count("\n")) == ("", 2, 1)
    assert "unrecognized arguments: --json); name a commit that can." in answer.stderr


def test_an_older_base_tells_its_flows_alone(tree: Path) -> None:
    """A base without `describe` is compared by flows, and the review says that the rest is unknown."""
    describe = '    "describe": ("every flow, and what else a reviewer compares, as JSON", ("file",)),\n'
    edit(tree, "commands/arguments.py", (describe, ""))
    git(tree, "commit", "--quiet", "--all", "--message=older")
    git(tree, "checkout", "--quiet", "main~1", "--", "commands")
    edit(tree, STACK, (VAULT, ""), (VAULT_PLAIN, ""))
    answer = review(tree)
    assert answer.stdout.startswith("**dev:** No longer from the internet: vaultwarden, through traefik.")
    assert (
        "The base is too old to tell more than flows: compare moves, images and data by hand."
        in answer.stdout
    )
    assert answer.returncode == 0


@pytest.mark.parametrize(
    ("base", "file", "options", "said"),
    [
        ("nope", STACK, (), "nope: is no commit here; name a branch, tag or commit that is fetched.\n"),
        ("", STACK, (), "BASE: is no commit here; name a branch, tag or commit that is fetched.\n"),
        ("--all", STACK, (), "--all: is no commit here; name a branch, tag or commit that is fetched.\n"),
        ("main", "Pulumi.nope.yaml", (), "Pulumi.nope.yaml: cannot be read (No such file or directory);"),
        ("main", STACK, ("--markdown", "nope/flows.md"), "nope/flows.md: can't be written; name a file in"),
        (
            "main",
            STACK,
            ("--sarif", "docs"),
            "docs: can't be written; name a file in a folder that is there.\n",
        ),
    ],
)
def test_bad_input_writes_nothing(
    tree: Path, base: str, file: str, options: tuple[str, ...], said: str
) -> None:
    """Input that can't be compared or written ends with exit code 2 and one line."""
    before = sorted(tree.rglob("*.*"))
    answer = review(tree, base, file, *options)
    assert (answer.stdout, answer.returncode, answer.stderr.count("\n")) == ("", 2, 1)
    assert answer.stderr.startswith(said)
    assert [path for path in sorted(tree.rglob("*.*")) if "__pycache__" not in path.parts] == before
