"""Texts with a class each: files, datasets of the Hugging Face Hub, generated sentences."""
