"""Serves the policy pack to Pulumi's engine.

The engine waits for the pack before it starts the program, so nothing is loaded that is not needed here: of
the SDKs the messages and constants alone, without all that the packages import by themselves, which is a
quarter of the start.
"""

import gc
import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

gc.disable()  # a pack lives for one deployment; collecting among its resources costs more than judging
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the engine starts this folder

# Its older way of waiting passes a call through fewer threads; a call is most of what a resource costs here.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

for package, *folder in (["pulumi_policy"], ["pulumi", "runtime"], ["pulumi"], ["grpc", "aio"]):
    installed = find_spec(package)
    if installed and installed.origin:
        hollow = ModuleType(".".join([package, *folder]))
        hollow.__path__ = [str(Path(installed.origin).parent.joinpath(*folder))]
        sys.modules[hollow.__name__] = hollow

importlib.import_module("policies.server").serve()
