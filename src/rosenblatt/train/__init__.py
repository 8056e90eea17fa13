"""The visible loops and what they are made of."""
