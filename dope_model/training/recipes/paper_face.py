"""paper_face: the face expert of section 3.3, on 3D Menpo."""

from dope_model.training.recipes._paper import FACE_SETS, expert

RECIPE = expert("face", FACE_SETS, epochs=50)
