"""The compiled engine for dense networks, and gradients that can be seen."""
