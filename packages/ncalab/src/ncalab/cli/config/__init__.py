"""Settings files of ``ncalab train``: read, checked against signatures, turned into objects."""
