"""A decoder of our own for the CPU: the weights of a transformers model, packed once, and nothing else of it.

reading.py     from a transformers model to a `Decoder`, every parameter accounted for
families.py    where each family of architectures keeps its parameters
parts.py       norms, positions, attention, blocks: what a decoder is made of
linear.py      products with packed weights
slots.py       keys and values of rows, in blocks of slots
attention.py   attention over blocks, as sums over bags of rows
forward.py     prompts and steps of a batch
"""
