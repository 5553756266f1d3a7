"""What a model can say: every fact asked forward, in reverse and in context, of any causal language model."""
