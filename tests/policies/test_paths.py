"""Routes by path: whose requests a router gets, and what the ingress does to them."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.policies.sound import Stack
from tests.policies.test_audience import SITES, file, rejecting, router, stack
from tests.site import changed, configuration
from topology.config import load
from topology.model import Route

HOST = "app.homelab.localhost"
OLD = "old.homelab.localhost"


def by_path() -> dict[str, Any]:
    """Return the sound site with three services under one host name, two of them by path."""
    frontend: dict[str, Any] = {"zones": ["frontend"], "image": "example/any:1.0.0"}
    return changed(
        {
            "services.app": {**frontend, "ports": [3000], "redirects": ["old", "www.example.org"]},
            "services.api": {
                **frontend,
                "ports": [8080],
                "host": "app",
                "aliases": ["api"],
                "paths": ["/api", "/.well-known/app"],
                "strip-paths": True,
                "requests": {"body": 8, "rate": 5, "at-once": 3},
                "request-headers": {"X-Script-Name": "/api"},
                "response-headers": {"X-Robots-Tag": "noindex", "X-Backend": ""},
            },
            "services.manual": {**frontend, "ports": [80], "host": "app", "paths": ["/api/manual"]},
            "flows": [
                *configuration()["flows"],
                "traefik -> app:3000/tcp",
                "traefik -> api:8080/tcp",
                "traefik -> manual:80/tcp",
            ],
        }
    )


SITES["paths"] = by_path


def routes() -> dict[str, Route]:
    """Return the routes of the site by name."""
    return {route.name: route for route in load(by_path()).routes}


def test_a_sound_site_has_no_finding() -> None:
    """The pack accepts what the program makes of services by path."""
    assert stack("paths").judge().findings == ()


def test_each_path_has_a_router_and_a_page() -> None:
    """A route has a router for each host name and path, and its page is at the first of them."""
    found = routes()
    assert list(found["api"].rules) == [
        f"{host}{path}" for path in ("/api", "/.well-known/app") for host in (HOST, "api.homelab.localhost")
    ]
    assert [found[name].page for name in ("app", "api", "manual")] == [
        f"https://{HOST}/",
        f"https://{HOST}/api/",
        f"https://{HOST}/api/manual/",
    ]


@pytest.mark.parametrize("root", ["app", "vaultwarden"])
def test_a_longer_path_has_the_longer_rule(root: str) -> None:
    """Traefik asks the longer rule first, so a path beats what is above it, an admin page's rule too."""
    values = by_path()
    values["services"]["vaultwarden"]["host"] = "app" if root == "vaultwarden" else "vault"
    values["services"]["app"]["host"] = "app" if root == "app" else "other"
    values["services"]["api"]["paths"] = ["/a"]
    values["services"]["manual"]["paths"] = ["/a/b"]
    found = {route.service: len(route.rules[route.place]) for route in load(values).routes}
    assert found[root] < found["api"] < found["manual"]


def middleware(name: str, kind: str, value: Any) -> Callable[[Stack], None]:
    """Return a change of a middleware: of its settings, or with None its removal from the router `api`."""

    def change(broken: Stack) -> None:
        uploads = broken.inputs("container", "traefik")["uploads"]
        (upload,) = (each for each in uploads if each["file"].endswith("middlewares.yml"))
        content = yaml.safe_load(upload["content"])
        content["http"]["middlewares"][name] = {kind: value}
        upload["content"] = yaml.safe_dump(content)

    return change


def without(name: str) -> Callable[[Stack], None]:
    """Return a change by which every router of `api` leaves a middleware out."""

    def change(broken: Stack) -> None:
        uploads = broken.inputs("container", "traefik")["uploads"]
        (upload,) = (each for each in uploads if each["file"].endswith("routes.yml"))
        content = yaml.safe_load(upload["content"])
        for each in content["http"]["routers"].values():
            each["middlewares"] = [one for one in each.get("middlewares", ()) if one != name] or ["body"]
        upload["content"] = yaml.safe_dump(content)

    return change


MUTANTS: dict[str, Callable[[Stack], None]] = {
    "the whole name": router("api", "rule", f"Host(`{HOST}`)"),
    "without the slash, so /apiary too": router("api", "rule", f"Host(`{HOST}`) && PathPrefix(`/api`)"),
    "a path of another's": router(
        "api", "rule", f"Host(`{HOST}`) && (Path(`/api/manual`) || PathPrefix(`/api/manual/`))"
    ),
    "a path above": router("manual", "rule", f"Host(`{HOST}`) && (Path(`/api`) || PathPrefix(`/api/`))"),
    "a path of every host": router("api", "rule", "(Path(`/api`) || PathPrefix(`/api/`))"),
    "a second host": router(
        "api", "rule", f"Host(`{HOST}`) || Host(`x.example`) && (Path(`/api`) || PathPrefix(`/api/`))"
    ),
    "a case more": router("api", "rule", f"Host(`{HOST}`) && PathRegexp(`(?i)^/api(/|$)`)"),
    "to the other service": router("api", "service", "app"),
    "the root before the path": router("app", "priority", 1000),
    "the root as high as the path": router(
        "app", "priority", len(f"Host(`{HOST}`) && (Path(`/api`) || PathPrefix(`/api/`))")
    ),
    "the path below the root": router("api", "priority", 1),
    "the path before the one below it": router("api", "priority", 500),
    "nothing stripped": without("paths-api"),
    "another path stripped": middleware("paths-api", "stripPrefix", {"prefixes": ["/"]}),
    "one path stripped": middleware("paths-api", "stripPrefix", {"prefixes": ["/api"]}),
    "stripped by a pattern": middleware("paths-api", "stripPrefixRegex", {"regex": ["/api"]}),
    "stripped where it is not declared": router("manual", "middlewares", ["paths-api"]),
    "no rate": without("rate-api"),
    "a higher rate": middleware(
        "rate-api", "rateLimit", {"average": 50, "burst": 10, "sourceCriterion": {"ipStrategy": {"depth": 0}}}
    ),
    "a rate by the hour": middleware(
        "rate-api",
        "rateLimit",
        {"average": 5, "burst": 10, "period": "1ms", "sourceCriterion": {"ipStrategy": {"depth": 0}}},
    ),
    "no bound of requests": without("concurrency-api"),
    "more requests": middleware("concurrency-api", "inFlightReq", {"amount": 99}),
    "no bound of bodies": without("body-api"),
    "larger bodies": middleware("body-api", "buffering", {"maxRequestBodyBytes": 16 * 1024 * 1024}),
    "the old name without its redirect": router(OLD, "middlewares", None),
    "the old name elsewhere": middleware(
        "redirect-app",
        "redirectRegex",
        {"regex": "^https://[^/]+/(.*)", "replacement": "https://evil.example/${1}", "permanent": True},
    ),
    "every name redirected": router("app", "middlewares", ["redirect-app"]),
    "another's name redirected": router("manual", "middlewares", ["redirect-app"]),
    "redirected by a scheme": middleware("redirect-app", "redirectScheme", {"scheme": "https"}),
    "redirected after the body": router(OLD, "middlewares", ["body-api", "redirect-app"]),
    "the old name of another": router(OLD, "service", "api"),
    "no headers": without("headers-api"),
    "another header": middleware("headers-api", "headers", {"customRequestHeaders": {"X-Script-Name": "/"}}),
    "a further header": middleware(
        "headers-api",
        "headers",
        {
            "customRequestHeaders": {"X-Script-Name": "/api", "Remote-User": "admin"},
            "customResponseHeaders": {"X-Robots-Tag": "noindex", "X-Backend": ""},
        },
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_paths_headers_and_limits_are_as_declared(mutant: str) -> None:
    """A router for another path, or before another's, and other headers and limits are rejected."""
    assert "routes-declared" in rejecting("paths", MUTANTS[mutant])


@pytest.mark.parametrize(
    "name", ["api", f"{HOST}/.well-known/app", "api.homelab.localhost/api", "manual", OLD]
)
def test_each_path_is_served(name: str) -> None:
    """Each declared host name and path needs its router."""
    assert "routes-served" in rejecting("paths", router(name, "", None))


def test_clients_are_counted_by_themselves() -> None:
    """A route's own limit counts each client's requests, not all of them or those that name a header."""
    for by in ("depth: 1", "excludedIPs: [10.0.0.0/8]"):
        change = file("middlewares.yml", "depth: 0", by)
        assert "ingress-trusts-declared-proxies" in rejecting("paths", change)
    every = middleware("rate-api", "rateLimit", {"average": 5, "burst": 10})
    assert "ingress-trusts-declared-proxies" in rejecting("paths", every)
