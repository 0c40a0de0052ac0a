"""From pixels to metres: intrinsics and lenses, depth images, and where people stand."""
