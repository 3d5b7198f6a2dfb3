"""Stills with labels that are known to be wrong: do filters find them, and does learning without them help?

The pure middle of notebook 11, in its order: `truths` (which labels are wrong), `cross_fit` (parts, and posteriors out
of sample), `detection` (filters as finders of wrong labels), `learning` (training on what they keep). A still is its
own video, so filters take their quantiles over a class.
"""

from emolib.label_noise.cross_fit import divide, judge, judges, select
from emolib.label_noise.detection import known_only, quality
from emolib.label_noise.learning import answers, controls, members, results, summary, tests, variants, verdict
from emolib.label_noise.truths import TRUTHS, truth

__all__ = [
    "TRUTHS", "answers", "controls", "divide", "judge", "judges", "known_only", "members", "quality",
    "results", "select", "summary", "tests", "truth", "variants", "verdict",
]  # fmt: skip
