"""Changes made to the live network outside Pulumi, and the lines that the probe must print about each.

Each is made on the running dev stack. Those without `undo` change resources that Pulumi owns: the next `make
up` repairs them. They are applied in rounds in which none hides another, in the order of the imports here.
"""

from tests.live.sabotage import containers, guests, strangers
from tests.live.sabotage.change import NODE, ROUNDS, TOPOLOGY, Sabotage, api, image, set_options

__all__ = [
    "NODE",
    "ROUNDS",
    "TOPOLOGY",
    "Sabotage",
    "api",
    "containers",
    "guests",
    "image",
    "set_options",
    "strangers",
]
