"""Reads a stack's resources and derives facts from them; only this package knows the providers' properties.

Note: resources are linked by the names and numbers that the program chose, never by ids, because ids are
unknown before creation.
"""
