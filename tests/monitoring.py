"""The sound site with monitoring across: Prometheus scrapes guests from legs of its own."""

from typing import Any

from tests.site import changed

SCRAPED = ("prometheus -> site-1:9100/tcp", "prometheus -> jellyfin:9100/tcp")


def with_monitoring() -> dict[str, Any]:
    """Return the sound site's keys with legs of Prometheus on two VLANs."""
    values = changed(
        {
            "services.prometheus.addresses": {"wordpress": "10.10.10.3", "apps": "10.10.20.3"},
            "services.site-1.ports": [443, 9100],
            "services.jellyfin.ports": [8096, 9100],
        }
    )
    values["flows"] += SCRAPED
    values["unencrypted"] += [{"flow": flow, "reason": "the guest's exporter has no TLS"} for flow in SCRAPED]
    return values
