"""The error of a survey that can't be made."""


class SurveyError(Exception):
    """A host that can't be read, as `path: fault; remedy`."""
