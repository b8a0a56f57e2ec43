"""Every command in the documents is run, either by another test or here in a clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.samples import state
from tests.clone import environment
from tests.documents import DOCUMENTS, commands
from tests.policies.sound import sound
from topology.project import PROJECT

HERE = {
    "make diff BASE=main": 0,
    "make diff BASE=HEAD": 0,
    "make report": 0,
    "make schema": 0,
    "python -m commands describe Pulumi.dev.yaml": 0,
    "python -m commands diff before.json after.json": 0,
    "python -m commands explain Pulumi.dev.yaml internet loki:3100/tcp": 1,
    "python -m commands judge Pulumi.dev.yaml": 0,
    "python -m commands list Pulumi.dev.yaml": 0,
    "python -m commands list --json Pulumi.dev.yaml": 0,
    "python -m commands review main Pulumi.dev.yaml": 0,
    "python -m commands rules": 0,
    "python -m commands report Pulumi.dev.yaml": 0,
    "python -m commands foothold": 0,
    "python -m commands report --mermaid Pulumi.dev.yaml": 0,
}
"""Quick commands without requirements -> their exit status; the flow of `explain` is denied."""

ELSEWHERE = {
    "make up": ("tests/live/conftest.py", 'make("up")'),
    "make down": ("tests/live/test_site_2_again.py", 'make("down")'),
    "make preview": ("tests/parts/test_preview.py", "make preview"),
    "make verify": ("tests/live/test_site_1_verify.py", 'make("verify")'),
    "make drift": ("tests/live/test_site_1_drift.py", 'make("drift")'),
    "make suggest": ("tests/live/test_site_1_suggest.py", 'make("suggest")'),
    "make survey": ("tests/unit/test_survey.py", '"make", "survey"'),
    "make survey JSON=1": ("tests/unit/test_survey.py", '"JSON=1"'),
    "make survey WRITE=Pulumi.home.yaml": ("tests/unit/test_adoption.py", '"make", "survey", f"WRITE='),
    "make compose FILE=docker-compose.yml": ("tests/unit/test_compose.py", '"make", "compose"'),
    "python -m commands compose docker-compose.yml": ("tests/unit/test_compose.py", "command.main("),
    "python -m commands survey": ("tests/unit/test_survey.py", "command.main("),
    "make test": (".ci/run", 'make "${@:-test}"'),
    "make env": ("tests/live/site.py", "make -s env"),
    'eval "$(make -s env)"': ("tests/live/site.py", 'eval "$(make -s env)"'),
    "make lint unit": ("Makefile", "for part in lint actionlint unit browser tools parts live"),
    "make coverage": (".github/workflows/ci.yml", "tests: coverage"),
    "make hooks": ("tests/unit/test_hooks.py", '"make", "hooks"'),
    "make browser": ("Makefile", "for part in lint actionlint unit browser tools parts live"),
    "python -m tests.golden": ("tests/unit/test_golden.py", "golden.with_refusals("),
    "python -m tests.findings": ("tests/policies/test_mutations.py", "findings.changed("),
    "python -m tests.mutate policies/hosts.py": ("tests/unit/test_mutate.py", "import mutants, survives"),
    "make tools": ("Makefile", "live: $(READY) tools"),
    "make cloud-init": ("tests/unit/test_cloud_init.py", '"cloud-init", "STACK=home"'),
    "make cloud-init STACK=home": ("tests/unit/test_cloud_init.py", '"cloud-init", "STACK=home"'),
    "make router": ("tests/unit/test_router.py", '"router", "STACK=home"'),
    "make router STACK=home": ("tests/unit/test_router.py", '"router", "STACK=home"'),
    "make preview STACK=home": ("tests/parts/test_real_hosts.py", "make preview STACK=home"),
    "htpasswd -nB admin | pulumi config set --secret traefik:users": (
        "tests/parts/test_real_hosts.py",
        "htpasswd -nB admin | pulumi config set --secret traefik:users",
    ),
    "pulumi config set --secret proxmoxve:apiToken": (
        "tests/parts/test_real_hosts.py",
        "pulumi config set --secret proxmoxve:apiToken",
    ),
    "pulumi config set --path 'homelab-network:domain'": (
        "tests/parts/test_real_hosts.py",
        "pulumi config set --path 'homelab-network:domain'",
    ),
    "pulumi up --policy-pack policies/serve": ("lab/stack.py", '"up", "--yes", *_PACK'),
    "pulumi up --refresh --policy-pack policies/serve": (
        "tests/live/test_site_1_hosts_fail.py",
        '"up", "--yes", "--refresh", "--policy-pack", "policies/serve"',
    ),
    "pulumi up --replace '**::probe-rules' --policy-pack policies/serve": (
        "tests/live/test_site_1_watch.py",
        '"up", "--yes", "--replace", "**::probe-rules", "--policy-pack", "policies/serve"',
    ),
    "pulumi preview --policy-pack policies/serve": (
        "tests/parts/copied.py",
        '"preview", "--stack", "dev", "--policy-pack", pack',
    ),
    "pulumi policy analyze --file state.json --policy-pack policies/serve": (
        "tests/live/test_site_2_again.py",
        '("policy", "analyze", "--policy-pack", "policies/serve", "--file", str(state))',
    ),
    "pulumi stack export --file state.json": (
        "tests/live/test_site_2_again.py",
        '"stack", "export", "--file", str(state)',
    ),
    "pulumi preview --expect-no-changes": (
        "tests/live/test_site_2_again.py",
        '"preview", "--refresh", "--expect-no-changes"',
    ),
    "pulumi up --skip-preview": ("tests/live/test_site_2_again.py", '"up", "--yes", "--skip-preview"'),
    "pulumi preview --refresh --json": ("verify/drift.py", '"--refresh", "--json"'),
    "pulumi stack select --create home": ("lab/stack.py", '"stack", "select", "--create", self.name'),
    "pulumi stack init dev": ("tests/live/test_site_2_add_service.py", '"stack", "init", "dev"'),
    "pulumi up --policy-pack ../../policies/serve": (
        "tests/live/test_site_2_add_service.py",
        '"--policy-pack", "../../policies/serve"',
    ),
    "pulumi destroy": ("tests/live/test_site_2_add_service.py", '"destroy", "--yes", "--stack", "dev"'),
    "pulumi stack rm --preserve-config dev": (
        "tests/live/test_site_2_add_service.py",
        '"stack", "rm", "--yes", "--preserve-config", "dev"',
    ),
    "pulumi stack output --json": ("lab/stack.py", '"stack", "output", "--json"'),
    "python -m commands schema": ("Makefile", "-m commands schema"),
    "python -m commands foothold": ("tests/unit/test_foothold.py", "command.main("),
    "python -m commands suggest": ("tests/unit/test_learned.py", "suggest.main("),
    "python -m commands drift": ("tests/live/test_site_1_drift.py", '"-m", "commands", "drift"'),
    "python -m commands verify --metrics": (
        "tests/live/test_site_1_watch.py",
        '("-m", "commands", "verify", "--metrics"',
    ),
    "python -m commands preflight --stack dev": ("tests/unit/test_preflight.py", 'main(["--stack", "dev"'),
    "python -m pytest tests/parts/test_users_engine_29.py": ("Makefile", "tests/parts"),
    "python -m pytest -s tests/live/test_site_1_requests.py": ("Makefile", "$(PYTEST) tests/live"),
    "python -m pytest -s -m matrix tests/parts/test_takeover.py": (
        "Makefile",
        "$(PYTEST) -m matrix tests/parts",
    ),
    "make adopt STACK=home": ("tests/parts/takeover_inside.py", "make adopt STACK={STACK}"),
    "vaultwarden-admin-page 15": ("tests/parts/test_guests_serve.py", 'asked("15")'),
    "vaultwarden-admin-page off": ("tests/parts/test_guests_serve.py", 'asked("off")'),
    "python -m tests.terminal": ("tests/unit/test_terminal.py", "terminal.svg()"),
    "python -m tests.browser.picture": ("tests/browser/test_page.py", '"tests.browser.picture"'),
}
"""Command -> the file that runs it, and its words there; `make up` runs those of `lab/`."""

NOT_RUN = {
    "cp docs/Pulumi.home.example.yaml": "tests/unit/test_real_hosts.py reads the example where it lies",
    "export PULUMI_CONFIG_PASSPHRASE": "it is the reader's own",
    "make matrix": "it takes many minutes; .github/workflows/ci.yml runs it",
    "make contributing": "it takes minutes; it runs the examples of CONTRIBUTING.md, on a copy",
    "journalctl --dmesg": "the lab has no journal; tests/live/test_site_1_suggest.py reads the kernel's log",
    "make quick": "it is a part of `make lint unit`",
    "make down STACK=home": "it needs two real hosts",
    "make suggest STACK=home": "it needs two real hosts; tests/live/test_site_1_suggest.py asks the lab's",
    "make drift STACK=home": "it needs two real hosts; tests/live/test_site_1_drift.py asks the lab's",
    "make verify STACK=home": "it needs two real hosts; `make verify` asks the lab's",
    'eval "$(make -s env STACK=home)"': "it needs a stack file of the reader's; the lab's is run",
    "pulumi config set --secret acme:HETZNER_API_TOKEN": "as proxmoxve:apiToken, which is run",
    "pulumi config set --secret grafana:adminPassword": "as proxmoxve:apiToken, which is run",
    "pulumi config set --secret alertmanager:receiver": "as proxmoxve:apiToken, which is run",
    "pulumi config set --secret wiki:db-password": "as proxmoxve:apiToken, which is run",
    "pulumi config set --secret ssh:privateKey": "as proxmoxve:apiToken, which is run",
    "pulumi stack export --file before.json": "as state.json, which is run",
    "pulumi stack init home": "as dev, which is run",
    "pulumi import --file": "it needs a host with something in the way",
    "pulumi state unprotect": "it undoes what tests/parts/test_policy_engine.py wants kept",
    "docker exec": "tests/parts/test_data_recipes.py runs what follows the container's name",
    "qm": "it runs on the node; the lab's API has such a template",
    "scp": "it needs a real host",
    "pveam": "it runs on the node; the lab's API has such a template of containers",
    "pveum": "it runs on the node; tests/unit/test_real_hosts.py compares its grants with what is needed",
    "python -m commands judge Pulumi.home.yaml": "tests/unit/test_real_hosts.py judges the example",
    "make up STACK=home": "it needs two real hosts; `make up` takes the same way on the lab's",
    "htpasswd -nB admin": "its line is set in tests/parts/test_real_hosts.py",
    "pulumi install": "it fetches published parts, which a test can't count on",
    "pulumi refresh": "it asks a person; `make up` runs it with --yes",
    "pulumi cancel": "lab/stack.py runs it after a killed run, in tests/parts/killed_inside.py",
    "pulumi state delete": "lab/stack.py forgets such resources itself",
    "python -m tests.fuzz 50000 7": "it takes hours; tests/unit/test_bad_input.py runs a part of it",
    "make bench": "it takes many minutes; tests/unit/test_bench.py holds its parts",
}
"""Beginning of a command -> why no test runs it."""


def _begins_one(command: str) -> bool:
    """Whether a command, up to its first placeholder, begins a command that is run."""
    begun = re.split(r"[<\[]", command)[0].rstrip()
    known = any(each.startswith(begun) for each in (*HERE, *ELSEWHERE))
    return known or any(command.startswith(each) for each in NOT_RUN)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_documented_command_is_run(document: Path) -> None:
    """Every documented command is run by a test or listed with a reason."""
    assert [command for command in sorted(commands(document)) if not _begins_one(command)] == []


def test_an_unknown_command_would_be_noticed(tmp_path: Path) -> None:
    """Commands are found in fences and in text, and an unknown command matches no row."""
    document = tmp_path / "x.md"
    document.write_text("Run `make nosuch` or\n\n```sh\n.venv/bin/python -m nosuch   # it\n```\n")
    assert commands(document) == {"make nosuch", "python -m nosuch"}
    assert [command for command in commands(document) if _begins_one(command)] == []


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_runs_a_command_still_does(command: str) -> None:
    """The file that the table names still contains the words that run the command."""
    file, words = ELSEWHERE[command]
    text = re.sub(r"\s+", " ", (PROJECT / file).read_text(encoding="utf-8"))
    assert words in text


@pytest.mark.parametrize("command", HERE)
def test_the_command_runs(tree: Path, command: str) -> None:
    """The command, as written, ends with its exit status in a fresh copy of the tree."""
    for name in ("before.json", "after.json"):
        state(tree, sound()).rename(tree / name)
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    # With an empty READY, make uses this environment.
    made = {"MAKEFLAGS": f"READY= VENV={sys.prefix}", "MAKELEVEL": "0", "PATH": path}
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=tree,
        env=environment(tree) | made,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == HERE[command], done.stdout + done.stderr
