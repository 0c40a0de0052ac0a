"""How well detectors do: metrics, and one file per protocol."""
