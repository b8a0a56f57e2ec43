"""PEM files of the machine that runs Pulumi, by the configuration key that names them."""

import pulumi

from topology.certificates import pem_file


def read_pem(key: str, path: str) -> str:
    """Read a PEM file; raises RunError naming the configuration key, never the content."""
    file = pem_file(path)
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not PEM text"
        raise pulumi.RunError(f"{key}: {file}: {reason}; name a readable PEM file.") from None
