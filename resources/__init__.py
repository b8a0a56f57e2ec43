"""From resources to facts: the only part that knows how providers spell their properties, and what they
mean.

Owns the graph of a stack: every resource read, and the facts that follow from them all. It judges nothing.
What a reader would get wrong: resources are linked by the names and numbers that the program chose, never
by ids, because those alone are known before anything is created.
"""
