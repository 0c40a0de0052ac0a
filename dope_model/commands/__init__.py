"""The commands of `python -m dope_model`, one file each; each adds itself to the parser."""

from dope_model.commands.detect import add_detect
from dope_model.commands.info import add_info

__all__ = ["add_detect", "add_info"]
