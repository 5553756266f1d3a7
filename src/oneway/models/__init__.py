"""What knows: the block function over named weights, stacked small decoders, their Hugging Face form, tokens.

Axis names, used wherever a shape is written: `seed fact batch pos layer head d_model d_head d_mlp vocab`.
"""
