"""Weights that come with the package: ``<name>.safetensors``, opened by `emolib.classify.load(name)`."""
