"""The public face: one estimator a system."""
