"""PEM files of the machine that runs Pulumi, by the configuration key that names them."""

import pulumi

from topology import certificates


def read_pem(key: str, path: str) -> str:
    """Read a PEM file; raises RunError naming the configuration key, never the content."""
    try:
        return certificates.read_pem(key, path)
    except certificates.PemError as error:
        raise pulumi.RunError(f"{error}.") from None
