"""Conversations: templates, how they are encoded, where turns end, reasoning, calls of tools.

Each file here is used by its own name; what is public stands in `lilims.tokenizer`.
"""
