"""An evaluation as one HTML file: what stands on it (page.py), its plots, the weights' errors, the worst places."""
