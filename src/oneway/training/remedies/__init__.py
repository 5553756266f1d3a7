"""Remedies as published, for models that are grown here: what is read, what is predicted from what, and what is tied.

Their texts may state what is false (`y → x` read backwards, `a ← a`); what `oneway.remedies` writes for people's own
tables may not.
"""
