"""Images from registries and the web: asked for, fetched, checked by digest."""
