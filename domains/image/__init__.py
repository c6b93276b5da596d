"""Pictures: a procedural captioned world whose truth is known, and what is built on it."""
