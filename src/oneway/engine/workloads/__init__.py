"""The analyses of factual recall as functions of an opened model and prompts of equally many tokens.

Each is a few lines over `run`, `stream` and `effects`, for reading as much as for calling.
"""

from oneway.engine.workloads.ablation import ComponentEffects, neuron_effects, total_effects
from oneway.engine.workloads.attention import attention_knockout, attention_patterns
from oneway.engine.workloads.names import product_of_names
from oneway.engine.workloads.paths import direct_effects, mlp_path_effects
from oneway.engine.workloads.residuals import residuals
from oneway.engine.workloads.tracing import causal_trace

__all__ = [
    "ComponentEffects",
    "attention_knockout",
    "attention_patterns",
    "causal_trace",
    "direct_effects",
    "mlp_path_effects",
    "neuron_effects",
    "product_of_names",
    "residuals",
    "total_effects",
]
