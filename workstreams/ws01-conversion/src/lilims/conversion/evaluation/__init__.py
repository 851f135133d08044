"""How good a package is: perplexity, and the distance from a reference, measured on the package itself.

texts, download     the text, and where it comes from
windows             which tokens are run together, and which of them count
sources             what gives logits: a package, or transformers
metrics             two rows of logits and the token that followed → figures; figures → a summary
runner              windows through one or several processes
cache               a reference's logits on disk
measure             all of it, in order
record              a summary in the model's manifest
report/             the same as a page
"""
