"""The commands: what people type, and what they get to read."""
