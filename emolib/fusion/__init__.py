"""Late fusion: one answer from the posteriors of several models, joined on what they answered, never on row order.

| method | learns | from |
|---|---|---|
| ``mean`` | nothing | |
| ``weighted`` | a weight for each table, 0 or more, summing to 1 | `validation` |
| ``logistic_regression`` | a regression on all posteriors side by side | `train`: the published way |
| ``stacking`` | the same | `out_of_fold` (Wolpert 1992) |

| `learn_from` | rows of the fold | in tables |
|---|---|---|
| `train` | posteriors of the performances that the fold's models learned from: far too sure | `seen` |
| `out_of_fold` | the same performances, by models that had not seen their subjects | `out_of_fold` |
| `validation` | subjects that stopped the models | `validation` |
| `other_folds` | test posteriors of the other folds' subjects. No model had seen them; but these models had seen this fold's test subjects, so the protocol is not nested | `other_folds` |

Each fold and seed is fused by itself. A table that is missing for some performances is no obstacle: those are answered
by a fusion of the tables that are there.
"""  # noqa: E501 (a table's row)

from __future__ import annotations

from emolib.fusion.comparing import agreement, alone, by_method, chosen_alone, compare, forest_rows, missing_tables
from emolib.fusion.fusing import LEARN_FROM, Fused, fuse, learned_as, protocol_of
from emolib.fusion.joining import Joined, join
from emolib.fusion.methods import INPUTS, METHODS, SCALINGS

__all__ = [
    "INPUTS",
    "LEARN_FROM",
    "METHODS",
    "SCALINGS",
    "Fused",
    "Joined",
    "agreement",
    "alone",
    "by_method",
    "chosen_alone",
    "compare",
    "forest_rows",
    "fuse",
    "join",
    "learned_as",
    "missing_tables",
    "protocol_of",
]
