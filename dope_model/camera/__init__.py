"""Camera geometry: intrinsics, lens distortion, depth images, and people's positions in metres."""
