"""Functions (y, y_hat) -> float."""
