"""Recipes travel with their artifacts: inside a file where its format has a place for one, and beside it always."""

from __future__ import annotations

from domains.common.recipes.files import (
    RECIPE_SUFFIX,
    content_sha256,
    embed_recipe,
    read_recipe,
    recipe_sidecar,
    strip_recipe,
)
from domains.common.recipes.notation import MAX_RECIPE_BYTES, RECIPE_KEY

__all__ = [
    "MAX_RECIPE_BYTES",
    "RECIPE_KEY",
    "RECIPE_SUFFIX",
    "content_sha256",
    "embed_recipe",
    "read_recipe",
    "recipe_sidecar",
    "strip_recipe",
]
