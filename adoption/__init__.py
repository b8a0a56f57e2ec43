"""Writes down what runs as a stack file, and how it becomes this stack's own; changes nothing on a host.

`source` says each container in Compose's words, `zones` and `guests` place what was found, `flows` proposes
who talks to whom, and `stack_file` prints the result, which the loader takes.

Note: an environment's values are read here, and leave the process only where `compose.secrecy` finds none
that may be a secret; a secret's name is written, with the command that hands its value to Pulumi.
"""
