"""What makes recall reversible, as training text: a table of facts in, examples out. No torch."""

from oneway.remedies.formats import FORMATS
from oneway.remedies.remedy import INSTEAD, REMEDIES, Remedy, remedy_of
from oneway.remedies.writing import Augmentation, Augmented, all_examples, augment, planned

__all__ = [
    "FORMATS",
    "INSTEAD",
    "REMEDIES",
    "Augmentation",
    "Augmented",
    "Remedy",
    "all_examples",
    "augment",
    "planned",
    "remedy_of",
]
