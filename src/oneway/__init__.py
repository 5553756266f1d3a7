"""oneway: a laboratory for one-way memory."""

__version__ = "0.1.0"
