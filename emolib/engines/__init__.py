"""What runs inside `emolib.training`: the plan of a training, and the two engines that carry it out."""
