"""The workflow for pull requests: who may do what, what it runs, what its scripts do with what they get."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.review import LABEL
from topology.project import PROJECT

WORKFLOW = PROJECT / ".github" / "workflows" / "pull-request.yml"


def jobs() -> dict[str, Any]:
    """The workflow's jobs by name."""
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    return found


def steps() -> list[dict[str, Any]]:
    """Every step of every job."""
    return [step for job in jobs().values() for step in job["steps"]]


def test_the_workflow_grants_nothing_but_what_a_job_names() -> None:
    """No job has a permission by default, and the one that runs the change's code may only read."""
    assert yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["permissions"] == {}
    assert {name: job["permissions"] for name, job in jobs().items()} == {
        "judge": {"contents": "read"},
        "label": {},
        "comment": {"pull-requests": "write"},
        "scan": {"security-events": "write"},
    }


def test_only_the_job_that_may_read_runs_the_changes_code() -> None:
    """Whoever may write checks nothing out and runs no command; what was handed over stays data."""
    for name, job in jobs().items():
        used = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
        ran = [step for step in job["steps"] if "run" in step]
        assert (name == "judge") == ("actions/checkout" in used) == bool(ran), name
    checkout = next(step for step in steps() if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["persist-credentials"] is False
    assert "pull_request_target" not in WORKFLOW.read_text(encoding="utf-8")


def test_no_expression_is_pasted_into_a_script_or_a_command() -> None:
    """Names, titles and texts of a pull request never become code."""
    scripts = [step.get("run", "") + step.get("with", {}).get("script", "") for step in steps()]
    assert [script for script in scripts if "${{" in script] == []


def test_every_action_is_pinned() -> None:
    """A tag can be moved; a commit can't. The version stands beside it for people."""
    lines = [line for line in WORKFLOW.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert len(lines) == sum("uses" in step for step in steps())
    for line in lines:
        assert re.search(r"uses: [\w-]+(/[\w-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_the_workflow_runs_make_targets_that_exist() -> None:
    """Continuous integration does what everyone can do at home, and nothing else."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    ran = [step["run"].partition(" #")[0].split() for step in steps() if "run" in step]
    assert {words[0] for words in ran} == {"make"}
    called = {word for words in ran for word in words[1:] if "=" not in word and not word.startswith("-")}
    assert called == {"diff", "lint", "unit", "preview"}
    assert called <= targets


def test_the_label_that_is_asked_for_is_the_one_that_is_looked_for() -> None:
    """The command's word for the label is the workflow's."""
    (script,) = (
        step["with"]["script"] for step in jobs()["label"]["steps"] if "script" in step.get("with", {})
    )
    assert script.count(f"'{LABEL}'") == 2


NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node runs the workflow's scripts; it is not installed")
HARNESS = """
const said = [], comments = JSON.parse(process.env.COMMENTS || '[]')
const core = {setFailed: text => said.push(['failed', text])}
const context = {repo: {owner: 'o', repo: 'r'}, payload: JSON.parse(process.env.PAYLOAD)}
const issues = {
  listComments: 'listComments',
  createComment: async one => said.push(['created', one.body]),
  updateComment: async one => said.push(['updated', one.comment_id, one.body]),
}
const github = {rest: {issues}, paginate: async () => comments}
const run = async () => {
%s
}
run().then(() => console.log(JSON.stringify(said)))
"""


def scripted(folder: Path, job: str, text: str | None, payload: object, comments: object = ()) -> Any:
    """What a job's script does, given a review (None: there is none), the event and the comments so far."""
    (script,) = (step["with"]["script"] for step in jobs()[job]["steps"] if "script" in step.get("with", {}))
    (folder / "flows").mkdir()
    if text is not None:
        (folder / "flows" / "flows.md").write_text(text, encoding="utf-8")
    answer = subprocess.run(
        [str(NODE), "-e", HARNESS % script],
        cwd=folder,
        env={"PAYLOAD": json.dumps(payload), "COMMENTS": json.dumps(comments)},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(answer.stdout)


AUTHOR, REVIEWER = {"id": 1}, {"id": 2}
QUIET = "## Flows of stack dev: 0 opened, 0 closed; findings: 0\n"
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
    ],
)
def test_a_sensitive_flow_waits_for_somebody_elses_label(
    tmp_path: Path, text: str, event: dict[str, object], sender: object, passes: bool
) -> None:
    """Only the event of a reviewer's setting the label passes, and any push after it asks again."""
    payload = {**event, "sender": sender, "pull_request": {"number": 1, "user": AUTHOR}}
    said = scripted(tmp_path, "label", text, payload)
    assert [words[0] for words in said] == ([] if passes else ["failed"])


@needs_node
def test_without_a_review_there_is_no_passing_the_label(tmp_path: Path) -> None:
    """A stack that could not be judged opens who knows what."""
    with pytest.raises(subprocess.CalledProcessError):
        scripted(
            tmp_path, "label", None, {"action": "opened", "sender": AUTHOR, "pull_request": {"user": AUTHOR}}
        )


PULL = {"pull_request": {"number": 1}}
MARK = "<!-- flows -->\n"


@needs_node
def test_the_first_comment_is_made_and_later_ones_replace_it(tmp_path: Path) -> None:
    """A pull request has one comment of ours; what others wrote is left alone."""
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
    """The review of an earlier push does not stand where the last one could not be judged."""
    assert scripted(tmp_path, "comment", None, PULL) == [
        ["created", f"{MARK}The stack could not be judged; the run says why."]
    ]


@needs_node
def test_what_was_handed_over_can_not_become_more_than_text(tmp_path: Path) -> None:
    """No tag, mention or link of the change's making is live in the comment, and it fits."""
    text = "<img src=x> @everyone [a](https://x.example) [b]: //x www.x.example ![c](d)" + "x" * 70_000
    ((_, body),) = scripted(tmp_path, "comment", text, PULL)
    sent = body.removeprefix(MARK)
    assert len(sent) < 65_000
    assert [live for live in ("<i", "@e", "](", "]:", "://", "www.") if live in sent] == []
