"""Parameters that are lists of names."""

from __future__ import annotations

from dataclasses import dataclass

from dope_ros.settings import ParameterError, Setting


@dataclass(frozen=True)
class ListSetting(Setting):
    """A list of texts; its `default` is a list, too. `[""]` stands for none, as ROS knows no empty
    list of texts."""

    @property
    def type_name(self) -> str:
        """ROS's name of the type."""
        return "string[]"

    @property
    def allowed(self) -> str:
        """In words."""
        return "a list of texts"

    def check(self, value: object) -> list[str]:
        """As `Setting.check`."""
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise self._wrong(value, "a list of texts such as '[a, b]'")
        names = [one for one in value if one] if len(value) == 1 else list(value)
        twice = sorted({one for one in names if one and names.count(one) > 1})
        if twice:
            raise ParameterError(f"parameter {self.name!r} names {twice[0]!r} twice")
        return list(value) if value else [""]

    @staticmethod
    def names(value: list[str]) -> list[str]:
        """The texts; none for `[""]`."""
        return [] if value == [""] else value
