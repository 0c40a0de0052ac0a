"""DOPE: whole-body 2D-3D pose detection (bodies, hands and faces) in plain Python."""

__version__ = "0.1.0"
