"""paper_hand: the hand expert of section 3.3, on RenderedHand."""

from dope_model.training.recipes._paper import HAND_SETS, expert

RECIPE = expert("hand", HAND_SETS, epochs=100)
