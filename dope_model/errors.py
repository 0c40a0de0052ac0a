"""What may go wrong anywhere, and says so itself."""


class Failure(RuntimeError):
    """Something went wrong and the text says what; commands print it instead of a traceback."""
