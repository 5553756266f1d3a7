"""These tests need TransformerLens, which has an environment of its own: `make transformer-lens`."""

from importlib.util import find_spec

# This folder itself can be imported by that name, but has no file of its own as a package has.
installed = find_spec("transformer_lens")
collect_ignore_glob = [] if installed is not None and installed.origin else ["test_*"]
