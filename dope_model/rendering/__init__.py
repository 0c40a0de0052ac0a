"""Rendered people with exact whole-body labels.

Data's way: `body` (rest shape and rig) and `assets` (clothes, hair, skins) make a `person`,
`posing` bends it, `scene` places people, camera, light and a place from `places`, `renderer`
draws it, `effects` makes it look like a photograph, `labels` measures it, `generate` does all that
for many pictures. Nothing here is needed to detect people.
"""

RENDERING_VERSION = 2
"""Raised when a seed gives other pictures than before."""
