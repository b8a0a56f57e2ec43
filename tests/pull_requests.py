"""Pull requests of every kind, each as the comment that its reviewer reads.

`.venv/bin/python -m tests.pull_requests` writes the comments to `tests/unit/pull_requests/`; `git diff` then
shows each changed one. A pull request changes the sound site's stack file, or the resources as a change of
the program would.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from policies.evaluate import evaluate
from policies.markdown import markdown, refused
from policies.review import Review, base_of, review
from resources.site import Graph
from resources.typed import view
from tests.policies.rejected import container, leg, route
from tests.policies.sound import TODAY, Stack, run
from tests.site import PREFIX, changed, configuration
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from topology.project import PROJECT

STACK: Final = "Pulumi.dev.yaml"
FOLDER: Final = PROJECT / "tests" / "unit" / "pull_requests"
PLAIN: Final = "it speaks no TLS"


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """A change of the sound site's stack file, as `tests.site.changed` takes it, and of the resources."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    code: Callable[[Stack], None] = lambda _: None


def _publish_loki(stack: Stack) -> None:
    leg(stack, "loki", "edge")
    container(stack, "loki", ports=[{"internal": 3100.0, "external": 3100.0, "ip": "0.0.0.0"}])  # noqa: S104


def _route_to_loki(stack: Stack) -> None:
    leg(stack, "loki", "frontend")
    route(stack, "logs", "logs.homelab.localhost", "http://loki:3100")


GUEST: Final = {"zone": "apps", "vmid": 203, "address": "10.10.20.13", "ports": [3000]}
EXCEPTION: Final = {
    "rule": "images-not-known-broken",
    "resource": "promtail",
    "reason": "moves to Alloy in January",
    "owner": "ann",
    "expires": "2027-01-31",
}
PULL_REQUESTS: Final[Mapping[str, PullRequest]] = {
    "new-route": PullRequest(
        keys={
            "services.wiki": GUEST,
            "flows[+]": "traefik -> wiki:3000/tcp",
            "unencrypted[+]": {"flow": "traefik -> wiki:3000/tcp", "reason": PLAIN},
        }
    ),
    "memory": PullRequest(keys={"services.loki.memory": 1024}),
    "sensitive-flow": PullRequest(keys={"flows[+]": "management -> vaultwarden:80/tcp"}),
    "loki-routed": PullRequest(keys={"flows[+]": "traefik -> loki:3100/tcp"}),
    "loki-routed-by-code": PullRequest(code=_route_to_loki),
    "loki-published-by-code": PullRequest(code=_publish_loki),
    "rename": PullRequest(
        keys={
            "services.jellyfin": "<gone>",
            "services.media": {"zone": "apps", "vmid": 201, "address": "10.10.20.11", "ports": [8096]},
            "flows[traefik -> jellyfin:8096/tcp]": "traefik -> media:8096/tcp",
            "unencrypted[traefik -> jellyfin:8096/tcp]": {
                "flow": "traefik -> media:8096/tcp",
                "reason": PLAIN,
            },
        }
    ),
    "vlan-move": PullRequest(
        keys={
            "services.jellyfin.zone": "wordpress",
            "services.jellyfin.address": "10.10.10.13",
            "services.jellyfin.vmid": 103,
        }
    ),
    "egress-of-the-vault": PullRequest(
        keys={
            "flows[+]": {
                "flow": "vaultwarden -> internet:443/tcp",
                "until": "2027-01-31",
                "reason": "updates of Debian",
            }
        }
    ),
    "exception-added": PullRequest(
        keys={"services.promtail.image": "grafana/promtail:3.6.3", "exceptions": [EXCEPTION]}
    ),
}


def comment(name: str) -> str:
    """Return the comment on one of the pull requests."""
    change = PULL_REQUESTS[name]
    return written(configuration(), changed(dict(change.keys)), change.code)


def written(
    before: dict[str, Any], after: dict[str, Any], code: Callable[[Stack], None] = lambda _: None
) -> str:
    """Return the comment on a change between two stack files' keys, and of the resources after it."""
    try:
        lines = [*markdown(reviewed(before, after, code))]
    except ConfigError as error:
        lines = [*refused(STACK, str(error))]
    return "".join(f"{line}\n" for line in lines)


def reviewed(
    before: dict[str, Any], after: dict[str, Any], code: Callable[[Stack], None] = lambda _: None
) -> Review:
    """Return the review of a change between two stack files' keys, and of the resources after it."""
    load(after)
    old, new = _site(before, lambda _: None), _site(after, code)
    base = base_of(old, _keys(before))
    verdict = evaluate((each.resource for each in new.views), new.topology, TODAY)
    return review(STACK, base, new, _keys(after), verdict)


def _site(config: dict[str, Any], code: Callable[[Stack], None]) -> Graph:
    stack = Stack(resources=run(config), config=config)
    code(stack)
    return Graph(tuple(map(view, stack.resources)), TopologyIndex.of(load(config)))


def _keys(config: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{PREFIX}{key}": value for key, value in config.items()}


def main() -> int:
    """Write every comment."""
    for name in PULL_REQUESTS:
        (FOLDER / f"{name}.md").write_text(comment(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
