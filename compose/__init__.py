"""Reads a Compose file and says it in the words of a stack file; writes, starts and sends nothing.

`document` reads the file as Compose does, `service` takes each service's keys, `links` finds flows and
zones, and `fragment` prints the result. What would weaken the site is refused, with the better way.

Note: the value of a variable that may be a secret is never printed; only its name is.
"""
