"""Emolab: emotion recognition from faces, voices and words, as numbered notebooks over a thin library."""
