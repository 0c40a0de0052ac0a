"""Rendered people with exact whole-body labels.

Data flow: `body` (rest shape and rig) and `assets` (clothes, hair, skins) make a `person`, `posing`
poses it, `scene` combines people, camera, light and a place from `places`, `renderer` draws the
scene, `effects` makes it look like a photograph, `labels` computes the labels, `generate` does all
that for many pictures. Nothing here is needed to detect people.
"""

RENDERING_VERSION = 2
"""Incremented when a seed gives other pictures than before."""
