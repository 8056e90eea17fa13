"""Numbers that say how good an answer is, and what a network sees."""
