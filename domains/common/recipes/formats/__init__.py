"""One file a format; `FORMATS` in `domains.common.recipes.registry` lists them."""
