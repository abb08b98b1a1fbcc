"""HTML pages that stand alone: one style, pictures inside, everything that is not ours escaped."""
