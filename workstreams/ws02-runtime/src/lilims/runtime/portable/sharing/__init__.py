"""What functions of one program have in common: which rows of a state a call needs, and which functions are one graph.

`prefix.py` frees a function from the size of its cache, `family.py` finds functions that differ in sizes alone. Both
rewrite programs after fusion/ and before lowering/; neither knows ONNX.
"""
