"""OpenAI's protocol over the engine: requests in, answers and events out.

Each file is used by its own name; `routes.py` puts them together. Must not know models, nor how turns are made.
"""
