"""People over time: track ids and smoothing."""
