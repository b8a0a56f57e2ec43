"""Serves the policy pack to Pulumi's engine.

The engine waits for the pack before it starts the program, so only what is needed is imported: of the SDKs
the messages and constants, without the packages' own imports, which take a quarter of the start.
"""

import gc
import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

gc.disable()  # a pack lives for one deployment; collecting garbage takes longer than evaluating
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the engine starts this folder

# gRPC's older way of waiting passes a call through fewer threads; calls dominate the time per resource.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it reads every package's metadata

for package, *folder in (["pulumi_policy"], ["pulumi", "runtime"], ["pulumi"], ["grpc", "aio"]):
    installed = find_spec(package)
    if installed and installed.origin:
        hollow = ModuleType(".".join([package, *folder]))
        hollow.__path__ = [str(Path(installed.origin).parent.joinpath(*folder))]
        sys.modules[hollow.__name__] = hollow

importlib.import_module("policies.server").serve()
