"""paper_body: the body expert of section 3.3.

On MPII, COCO, LSP, LSPE, Human3.6M and SURREAL; give those that you have. Sets without 3D teach 2D.
"""

from dope_model.training.recipes._paper import BODY_SETS, expert

RECIPE = expert("body", BODY_SETS, epochs=50)
