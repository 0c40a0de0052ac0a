"""What the errors about unusable messages have in common."""

from __future__ import annotations


class BadMessageError(ValueError):
    """What is wrong, in full.

    Attributes:
        kind: the same in a word or two, alike for all messages with that trouble.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
