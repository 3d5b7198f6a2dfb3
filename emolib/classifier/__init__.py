"""Training of a classifier of single faces (system D, and the best that 48x48 pixels allow).

The pure middle of notebook 13: `parts` (which still is for what), `targets` (labels, votes, balance), `recipe` and
`augment` (how), `fit` with `steps` (the loop), `distil` (teachers), `views` (what is averaged at the end).
"""

from emolib.classifier.augment import Augmentation
from emolib.classifier.fit import fit
from emolib.classifier.recipe import ClassifierRecipe

__all__ = ["Augmentation", "ClassifierRecipe", "fit"]
