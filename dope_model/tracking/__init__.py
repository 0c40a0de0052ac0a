"""People over time: track ids, and joints that do not jitter."""
