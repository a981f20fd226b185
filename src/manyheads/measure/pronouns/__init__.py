"""Whether some head of a trained model finds what a pronoun speaks of."""
