"""The error whose text is written for users."""


class Failure(RuntimeError):
    """An expected failure that the text explains; commands print it instead of a traceback."""
