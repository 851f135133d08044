"""Where tensors come from: a Hugging Face folder and its files, adapters, the hub. GGUF has a package of its own."""
