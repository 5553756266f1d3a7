"""These tests need TRL and datasets, which have an environment of their own: `make fine-tuning-tools`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("trl") and find_spec("datasets") else ["test_*"]
