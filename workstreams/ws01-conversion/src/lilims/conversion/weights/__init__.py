"""The way of a tensor into weight.bin: found, checked, padded, quantised and written, some rows at a time."""
