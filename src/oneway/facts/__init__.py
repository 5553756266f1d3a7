"""What is to be known: facts, relations, tables, readers, synthetic worlds, splits, rendering. No torch."""

from oneway.facts.fact import Direction, Fact, FactTable, Relation
from oneway.facts.rendering import (
    ALL_DIRECTIONS,
    Question,
    TemplateError,
    forward_question,
    in_context_question,
    one_shot_prefixes,
    questions,
    reverse_question,
    sentence,
    unaskable,
)

__all__ = [
    "ALL_DIRECTIONS",
    "Direction",
    "Fact",
    "FactTable",
    "Question",
    "Relation",
    "TemplateError",
    "forward_question",
    "in_context_question",
    "one_shot_prefixes",
    "questions",
    "reverse_question",
    "sentence",
    "unaskable",
]
