"""The workflows: permissions, commands, scripts; pull-request.yml is run step by step on a git history."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.markdown import refused
from policies.review import LABEL
from tests.clone import git
from tests.pull_requests import FOLDER, PULL_REQUESTS
from tests.workflow import NODE, Job, Runner, script
from topology.project import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").iterdir())
CI, WORKFLOW = WORKFLOWS
MAKE = f"READY= VENV={sys.prefix}"
"""READY is empty, so that make uses this environment."""


def load(workflow: Path) -> dict[Any, Any]:
    """Return the workflow; YAML reads its key `on` as True."""
    found: dict[Any, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    return found


def jobs(workflow: Path = WORKFLOW) -> dict[str, Any]:
    """Return a workflow's jobs by name."""
    found: dict[str, Any] = load(workflow)["jobs"]
    return found


def steps(workflow: Path = WORKFLOW) -> list[dict[str, Any]]:
    """Return every step of every job."""
    return [step for job in jobs(workflow).values() for step in job["steps"]]


def test_the_workflows_are_those_that_are_tested() -> None:
    """The workflows are the two that the tests below name."""
    assert [file.name for file in WORKFLOWS] == ["ci.yml", "pull-request.yml"]


def test_the_workflow_grants_nothing_but_what_a_job_names() -> None:
    """No job has a permission by default, and the job that runs the change's code may only read."""
    assert [load(workflow)["permissions"] for workflow in WORKFLOWS] == [{}, {}]
    assert {name: job["permissions"] for name, job in jobs(CI).items()} == {
        "checks": {"contents": "read"},
        "everything": {"contents": "read"},
        "matrix": {"contents": "read"},
    }
    assert {name: job["permissions"] for name, job in jobs().items()} == {
        "judge": {"contents": "read"},
        "label": {},
        "comment": {"pull-requests": "write"},
        "scan": {"security-events": "write"},
    }


def test_only_the_job_that_may_read_runs_the_changes_code() -> None:
    """Only the job `judge` checks out code and runs commands; jobs that may write only read its files."""
    for name, job in jobs().items():
        used = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
        ran = [step for step in job["steps"] if "run" in step]
        assert (name == "judge") == ("actions/checkout" in used) == bool(ran), name


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_what_is_checked_out_holds_no_token(workflow: Path) -> None:
    """No checkout keeps a credential for later steps, and no event gives the change's code a secret."""
    kept = [
        step["with"]["persist-credentials"]
        for step in steps(workflow)
        if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert (set(kept), "pull_request_target" in load(workflow)[True]) == ({False}, False)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_expression_is_pasted_into_a_script_or_a_command(workflow: Path) -> None:
    """No `${{` expression is in a script or command, so names and texts of a pull request are not code."""
    scripts = [step.get("run", "") + step.get("with", {}).get("script", "") for step in steps(workflow)]
    assert [script for script in scripts if "${{" in script] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned(workflow: Path) -> None:
    """Every action is pinned to a commit, because tags can move, and its version is in a comment."""
    lines = [line for line in workflow.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert len(lines) == sum("uses" in step for step in steps(workflow))
    for line in lines:
        assert re.search(r"uses: [\w-]+(/[\w-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_the_workflow_runs_make_targets_that_exist() -> None:
    """The pull-request workflow runs only make targets, and those exist in the Makefile."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    ran = [step["run"].partition(" #")[0].split() for step in steps() if "run" in step]
    assert {words[0] for words in ran} == {"make"}
    called = {word for words in ran for word in words[1:] if "=" not in word and not word.startswith("-")}
    assert called == {"diff", "preview"}
    assert called <= targets


def test_the_label_that_is_asked_for_is_the_one_that_is_looked_for() -> None:
    """The workflow and the review command use the same label."""
    (script,) = (
        step["with"]["script"] for step in jobs()["label"]["steps"] if "script" in step.get("with", {})
    )
    assert script.count(f"'{LABEL}'") == 2


needs_node = pytest.mark.skipif(NODE is None, reason="node runs the workflow's scripts; it is not installed")


def scripted(folder: Path, job: str, text: str | None, payload: object, comments: object = ()) -> Any:
    """Run a job's script with a review (None: none), the event and the comments so far; return its calls."""
    (folder / "flows").mkdir()
    if text is not None:
        (folder / "flows" / "flows.md").write_text(text, encoding="utf-8")
    return scripted_in(folder, job, payload, comments)


def scripted_in(folder: Path, job: str, payload: object, comments: object = ()) -> Any:
    """Run a job's script in a folder that holds the job's input; return its calls."""
    (found,) = (step["with"]["script"] for step in jobs()[job]["steps"] if "script" in step.get("with", {}))
    return script(found, folder, payload, comments)


AUTHOR, REVIEWER = {"id": 1}, {"id": 2}
QUIET = "**dev:** No flow opens or closes.\n"
REFUSED = "".join(refused("Pulumi.dev.yaml", "flows[1]: is wrong; mend it."))
SENSITIVE = "a reviewer sets the label `flows-reviewed`."


@needs_node
@pytest.mark.parametrize(
    ("text", "event", "sender", "passes"),
    [
        (QUIET, {"action": "opened"}, AUTHOR, True),
        (SENSITIVE, {"action": "opened"}, AUTHOR, False),
        (SENSITIVE, {"action": "labeled", "label": {"name": "flows-reviewed"}}, REVIEWER, True),
        (SENSITIVE, {"action": "labeled", "label": {"name": "flows-reviewed"}}, AUTHOR, False),
        (SENSITIVE, {"action": "labeled", "label": {"name": "nice"}}, REVIEWER, False),
        (SENSITIVE, {"action": "unlabeled", "label": {"name": "flows-reviewed"}}, REVIEWER, False),
        (SENSITIVE, {"action": "synchronize"}, REVIEWER, False),
        (REFUSED, {"action": "labeled", "label": {"name": "flows-reviewed"}}, REVIEWER, False),
    ],
)
def test_a_sensitive_flow_waits_for_somebody_elses_label(
    tmp_path: Path, text: str, event: dict[str, object], sender: object, passes: bool
) -> None:
    """Only the event of a reviewer setting the label passes, and any later push asks again."""
    payload = {**event, "sender": sender, "pull_request": {"number": 1, "user": AUTHOR}}
    said = scripted(tmp_path, "label", text, payload)
    assert [words[0] for words in said] == ([] if passes else ["failed"])


@needs_node
def test_without_a_review_there_is_no_passing_the_label(tmp_path: Path) -> None:
    """Without a review the label job fails, because the stack could not be judged."""
    with pytest.raises(subprocess.CalledProcessError):
        scripted(
            tmp_path, "label", None, {"action": "opened", "sender": AUTHOR, "pull_request": {"user": AUTHOR}}
        )


PULL = {"pull_request": {"number": 1}}
MARK = "<!-- flows -->\n"


@needs_node
def test_the_first_comment_is_made_and_later_ones_replace_it(tmp_path: Path) -> None:
    """A pull request has one comment of ours, which later runs replace; other comments stay."""
    ours = {"id": 7, "user": {"login": "github-actions[bot]"}, "body": f"{MARK}old"}
    other = {"id": 6, "user": {"login": "someone"}, "body": f"{MARK}not ours"}
    for name in ("first", "later"):
        (tmp_path / name).mkdir()
    assert scripted(tmp_path / "first", "comment", QUIET, PULL, [other]) == [["created", MARK + QUIET]]
    assert scripted(tmp_path / "later", "comment", QUIET, PULL, [other, ours]) == [
        ["updated", 7, MARK + QUIET]
    ]


@needs_node
def test_a_comment_says_when_there_is_no_review(tmp_path: Path) -> None:
    """Where the last push could not be judged, the comment says so instead of showing an earlier review."""
    assert scripted(tmp_path, "comment", None, PULL) == [
        ["created", f"{MARK}The stack could not be judged; the run says why."]
    ]


@needs_node
def test_what_was_handed_over_can_not_become_more_than_text(tmp_path: Path) -> None:
    """No tag, mention or link from the change is active in the comment, and the comment fits."""
    text = "<img src=x> @everyone [a](https://x.example) [b]: //x www.x.example ![c](d)" + "x" * 70_000
    ((_, body),) = scripted(tmp_path, "comment", text, PULL)
    sent = body.removeprefix(MARK)
    assert len(sent) < 65_000
    assert [live for live in ("<i", "@e", "](", "]:", "://", "www.") if live in sent] == []


@needs_node
@pytest.mark.parametrize("name", PULL_REQUESTS)
def test_a_comment_keeps_what_folds(tmp_path: Path, name: str) -> None:
    """A review is the comment to the letter where it folds tables; a fold with other words stays text."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    ((_, body),) = scripted(tmp_path, "comment", text, PULL)
    folds = [line for line in text.splitlines() if "details>" in line]
    assert [line for line in body.splitlines() if "details>" in line] == folds
    (tmp_path / "other").mkdir()
    ((_, other),) = scripted(tmp_path / "other", "comment", "<details><summary>[x](y)</summary>", PULL)
    assert "<details>" not in other


# ------------------------------------------------------------------------------------- on every change


def test_ci_runs_on_pull_requests_the_main_branch_and_tags() -> None:
    """CI runs on pull requests, on the main branch and on tags."""
    assert load(CI)[True] == {"pull_request": None, "push": {"branches": ["main"], "tags": ["v*"]}}


def test_ci_has_every_supported_python() -> None:
    """CI has every supported Python, from the oldest that the project requires to the newest."""
    pythons = [row["python"] for row in jobs(CI)["checks"]["strategy"]["matrix"]["include"]]
    required = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]
    assert required["requires-python"] == f">={pythons[0]}"


def planned(*targets: str) -> set[str]:
    """Return each command that `.ci/run` would run."""
    done = subprocess.run(
        [PROJECT / ".ci" / "run", *targets],
        env={**os.environ, "MAKEFLAGS": f"n READY= VENV={sys.prefix}", "MAKELEVEL": "0"},
        check=True,
        capture_output=True,
        text=True,
    )
    said = done.stdout.replace("\\\n", " ").splitlines()
    return {line for line in said if not line.startswith("passed: ")}  # it has the seconds


def test_ci_runs_on_each_python_what_everyone_can_run(hub: Path, tmp_path: Path) -> None:
    """The job `checks` runs commands of `.ci/run`; the coverage job runs the same tests."""
    all_of_them = planned()
    checks = load(CI) | {"jobs": {"checks": jobs(CI)["checks"]}}
    (tmp_path / "checks.yml").write_text(yaml.safe_dump(checks), encoding="utf-8")
    runner = Runner(
        hub=hub, ref=PULL_REF, event=event(), folder=tmp_path / "run", make=f"n READY= VENV={sys.prefix}"
    )
    done = runner.run(tmp_path / "checks.yml")
    assert {name: job.passed for name, job in done.items()} == {
        "checks 3.11 unit": True,
        "checks 3.12 unit": True,
        "checks 3.13 unit": True,
        "checks 3.14 coverage": True,
    }
    ran = {name: set(job.log.splitlines()) for name, job in done.items()}
    assert ran["checks 3.11 unit"] == planned("lint", "actionlint", "unit")
    assert ran["checks 3.11 unit"] < all_of_them
    counted = {line for line in ran["checks 3.14 coverage"] if "--cov" in line}
    assert {line.replace("--cov --cov-report= ", "") for line in counted} <= all_of_them
    assert len(counted) == 1


def test_ci_runs_everything_as_root() -> None:
    """One job runs the README's whole test command as root."""
    ran = [step["run"] for step in jobs(CI)["everything"]["steps"] if "run" in step]
    assert ran == ['sudo env "PATH=$PATH" .ci/run']
    assert planned() == planned("test")


# -------------------------------------------------------------------------- a pull request, step by step

STACK = "Pulumi.dev.yaml"
PULL_REF = "refs/pull/1/merge"
VAULT = "    - traefik -> vaultwarden:80/tcp\n"
VAULT_PLAIN = "    - {flow: traefik -> vaultwarden:80/tcp, reason: the lab's stand-in speaks no TLS}\n"
PDF_PLAIN = VAULT_PLAIN.replace("vaultwarden:80", "stirling-pdf:8080")
PDF = "    - traefik -> stirling-pdf:8080/tcp\n"
FAULTY = f"{PDF}    - traefik -> nowhere:80/tcp\n"
SITE = "    - traefik -> site-1:443/tcp\n"


def event(action: str = "opened", fork: bool = False, **more: object) -> dict[str, Any]:
    """Return the event of a pull request, with the fields that the workflows read."""
    return {
        "action": action,
        "number": 1,
        "sender": AUTHOR,
        "repository": {"full_name": "o/r", "private": False},
        "pull_request": {
            "number": 1,
            "user": AUTHOR,
            "head": {"repo": {"full_name": "someone/r" if fork else "o/r"}},
        },
        **more,
    }


def rewrite(tree: Path, *changes: tuple[str, str]) -> None:
    """Change the stack file and commit; each old text must occur once."""
    text = (tree / STACK).read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (tree / STACK).write_text(text, encoding="utf-8")
    git(tree, "commit", "--quiet", "--all", "--message=change")


def propose(tree: Path, *changes: tuple[str, str], meanwhile: tuple[str, str] = (SITE, "")) -> Path:
    """Make a pull request of these changes, with later commits on main, and return the repository.

    Like GitHub, the checked-out commit is the merge of both.
    """
    git(tree, "checkout", "--quiet", "-b", "change")
    rewrite(tree, *changes)
    git(tree, "checkout", "--quiet", "main")
    rewrite(tree, meanwhile)
    git(tree, "checkout", "--quiet", "--detach", "main")
    git(tree, "merge", "--quiet", "--no-ff", "--message=merge", "change")
    git(tree, "update-ref", PULL_REF, "HEAD")
    return tree


@pytest.fixture
def hub(tree: Path) -> Path:
    """Return a repository whose pull request closes Vaultwarden's flows while main closes site-1's."""
    return propose(tree, (VAULT, ""), (VAULT_PLAIN, ""))


def pull_request(hub: Path, folder: Path, about: dict[str, Any], workflow: Path = WORKFLOW) -> dict[str, Job]:
    """Return the workflow's jobs after a run; `make preview` is only printed, because tests/parts runs it."""
    runner = Runner(hub=hub, ref=PULL_REF, event=about, folder=folder, make=f"{MAKE} LAB=echo")
    return runner.run(workflow)


def passed(done: dict[str, Job]) -> dict[str, bool]:
    """Return the jobs that ran, and whether they passed."""
    return {name: job.passed for name, job in done.items()}


@needs_node
def test_a_pull_request_is_told_what_it_changes_and_not_what_main_did(hub: Path, tmp_path: Path) -> None:
    """Review, label, comment and scan compare with the merge's first parent, not with older history."""
    done = pull_request(hub, tmp_path / "run", event())
    assert passed(done) == {"judge": True, "label": True, "comment": True, "scan": True}, done
    assert "preview --stack dev" in done["judge"].log
    ((what, body),) = done["comment"].said
    assert (what, body.splitlines()[:2]) == (
        "created",
        [MARK.strip(), "**dev:** No longer from the internet: vaultwarden, through traefik."],
    )
    assert ("vaultwarden:80/tcp" in body, "site-1" in body) == (True, False)
    assert [run["results"] for run in done["scan"].scanned] == [[]]


@needs_node
def test_a_fork_gets_neither_comment_nor_scan(tree: Path, tmp_path: Path) -> None:
    """For a fork the jobs that write do not run; the jobs that decide do."""
    hub = propose(tree, (PDF, FAULTY))
    assert [*pull_request(hub, tmp_path / "run", event(fork=True))] == ["judge", "label"]


@needs_node
def test_a_pull_request_that_opens_a_sensitive_flow_waits(tree: Path, tmp_path: Path) -> None:
    """The label job fails on the review from the judge job, and passes when a reviewer sets the label."""
    rewrite(tree, (VAULT, ""), (VAULT_PLAIN, ""))
    hub = propose(tree, (PDF, PDF + VAULT), (PDF_PLAIN, PDF_PLAIN + VAULT_PLAIN))
    waits = pull_request(hub, tmp_path / "opened", event())
    assert passed(waits) == {"judge": True, "label": False, "comment": True, "scan": True}, waits
    labeled = event("labeled", label={"name": LABEL}, sender=REVIEWER)
    assert scripted_in(tmp_path / "opened" / "label-0" / "work", "label", labeled) == []


@needs_node
def test_a_pull_request_that_can_not_be_judged_passes_nowhere(tree: Path, tmp_path: Path) -> None:
    """A faulty stack file fails every job but the comment, which says what to mend."""
    hub = propose(tree, (PDF, FAULTY))
    done = pull_request(hub, tmp_path / "run", event())
    assert passed(done) == {"judge": False, "label": False, "comment": True, "scan": False}
    ((_, body),) = done["comment"].said
    first, _, fault = body.removeprefix(MARK).splitlines()
    assert first == "**dev: refused**, nothing was judged. To mend:"
    assert "the destination nowhere is declared nowhere; name a service, a host, an external zone" in fault


@needs_node
def test_the_merges_parent_must_be_fetched(hub: Path, tmp_path: Path) -> None:
    """With only one commit fetched the judge job has no base and fails."""
    shallow = tmp_path / "shallow.yml"
    text = WORKFLOW.read_text(encoding="utf-8")
    assert text.count("fetch-depth: 2") == 1
    shallow.write_text(text.replace("fetch-depth: 2", "fetch-depth: 1"), encoding="utf-8")
    done = pull_request(hub, tmp_path / "run", event(), shallow)
    assert (done["judge"].passed, "HEAD^1: is no commit here" in done["judge"].log) == (False, True)
