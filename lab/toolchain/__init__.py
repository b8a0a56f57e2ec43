"""Pulumi's engine, Python host and plugins: the installed ones, else the published ones, else built here.

Everything is kept in the cache; the user's own Pulumi home is never written to. Plugins built here, and the
stand-in for one, are visible only where `environment` applies. A machine with Pulumi and the plugins in the
versions of requirements.txt does not need this folder.
"""

from lab.toolchain.chain import Choice, Piece, Toolchain, ensure, environment

__all__ = ["Choice", "Piece", "Toolchain", "ensure", "environment"]
