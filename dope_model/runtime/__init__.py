"""Engines that run a network; each takes an RGB image and gives pose candidates by part."""
