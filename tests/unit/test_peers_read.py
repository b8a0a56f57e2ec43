"""What the pack reads of files in which real programs found another peer than it did."""

from typing import Any

import pytest

from policies.targets import _discoveries, passed_on
from resources import alloy
from resources.docker import Upload

ELSEWHERE = "10.0.0.8:80"


@pytest.mark.parametrize(
    "statements",
    [
        f"proxy_pass http://{ELSEWHERE};",
        f"proxy_pass HTTP://{ELSEWHERE};",
        f"set $a http; proxy_pass $a://{ELSEWHERE};",
        f"fastcgi_pass {ELSEWHERE};",
        f"grpc_pass {ELSEWHERE};",
        f"proxy_pass http://loki; }} upstream loki {{ server {ELSEWHERE};",
    ],
)
def test_where_nginx_passes_requests_on(statements: str) -> None:
    """Schemes in capitals, other protocols, variables and upstreams lead elsewhere, too."""
    upload = Upload(file="/etc/nginx/nginx.conf", content=f"server {{ {statements} }}")
    assert any(ELSEWHERE in target for target in passed_on(upload))


def test_a_variable_with_a_url_is_read_as_the_url() -> None:
    """The rendered files have their one upstream in a variable."""
    upload = Upload(file="/etc/nginx/nginx.conf", content="set $a https://loki:3100; proxy_pass $a;")
    assert list(passed_on(upload)) == ["https://loki:3100"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"static_configs": [{"targets": [], "labels": {"__address__": ELSEWHERE}}]}, ["__address__"]),
        ({"static_configs": [{"targets": [], "labels": {"__scheme__": "http"}}]}, ["__scheme__"]),
        ({"relabel_configs": [{"target_label": "__address__"}]}, ["relabel_configs"]),
        ({"relabel_configs": [{"target_label": "__${1}ddress__"}]}, ["relabel_configs"]),
        ({"relabel_configs": [{"action": "LabelMap", "regex": "x(.*)"}]}, ["relabel_configs"]),
        ({"relabel_configs": [{"target_label": "site"}, {"action": "keep"}]}, []),
        ({"metric_relabel_configs": [{"target_label": "name"}]}, []),
    ],
)
def test_labels_that_move_a_target(more: dict[str, Any], expected: list[str]) -> None:
    """Prometheus asks where the label of the address says, and as the label of the scheme does."""
    assert list(_discoveries({"scrape_configs": [{"job_name": "x", **more}]})) == expected


@pytest.mark.parametrize("label", ['"a b"', '"1a"', '"a-b"', '""'])
def test_labels_that_alloy_refuses(label: str) -> None:
    """A block's label is a name."""
    with pytest.raises(ValueError, match="is not understood"):
        alloy.documents(f"loki.write {label} {{ }}")
