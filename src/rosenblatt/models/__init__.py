"""Networks as plain modules that know nothing of training."""
