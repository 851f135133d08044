"""MIL emission: blocks.py draws the parts of a decoder, functions.py its functions, program.py saves the program."""
