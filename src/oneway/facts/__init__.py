"""What is to be known: facts, relations, tables, readers, synthetic worlds, splits, rendering. No torch."""

from oneway.facts.fact import Direction, Fact, FactTable, Relation

__all__ = ["Direction", "Fact", "FactTable", "Relation"]
