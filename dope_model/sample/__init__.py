"""Ten rendered seconds of two people who walk, gesture and cross, with their exact labels.

Made by `python -m dope_model.rendering.clip`; frame k of the clip is sample k of the labels.
"""

from pathlib import Path

CLIP = Path(__file__).with_name("clip.mp4")
LABELS = Path(__file__).with_name("labels.npz")
