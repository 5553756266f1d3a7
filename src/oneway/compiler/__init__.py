"""A fact table into weights: checkpoints whose circuit is known, as ground truth for methods that look for one."""

from oneway.compiler.build import Compiled, compile_table
from oneway.compiler.capacity import Capacity
from oneway.compiler.grading import Grade, grade
from oneway.compiler.manifest import Manifest, ManifestError, read_manifest
from oneway.compiler.refusal import CompileError

__all__ = [
    "Capacity",
    "CompileError",
    "Compiled",
    "Grade",
    "Manifest",
    "ManifestError",
    "compile_table",
    "grade",
    "read_manifest",
]
