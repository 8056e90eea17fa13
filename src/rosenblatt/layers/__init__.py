"""Parts that more than one model uses."""

from rosenblatt.layers.activations import ACTIVATIONS, Activation, ActivationSpec, CustomActivation, activation, find

__all__ = ["ACTIVATIONS", "Activation", "ActivationSpec", "CustomActivation", "activation", "find"]
