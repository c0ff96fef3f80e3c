"""The room of operator learning: networks that map fields to fields, in time or once."""
