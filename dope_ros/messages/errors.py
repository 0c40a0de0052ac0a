"""The base class of errors about unusable messages."""

from __future__ import annotations


class BadMessageError(ValueError):
    """The text explains the problem in full.

    Attributes:
        kind: the problem in a word or two, the same for all messages with it.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
