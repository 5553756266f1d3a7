"""Files as people have them: where the bytes lie (a container) and what the records mean (a form).

A container (delimited text, JSON, Parquet) gives records with keys, whatever they mean. A form (a table
of one's own, CounterFact, PopQA, …) is told by those keys and makes rows of them. Any form may stand in any
container. What rows mean, and whether they are right, is decided once for all in `oneway.facts.checking`.
"""
