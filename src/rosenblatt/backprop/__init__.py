"""Backpropagation by hand, compiled: a whole epoch of a chain of dense layers in one call."""
