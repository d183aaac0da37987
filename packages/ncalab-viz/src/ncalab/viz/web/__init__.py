"""A trained model as a web page that runs by itself."""

from ncalab.viz.web.export import export_html

__all__ = ["export_html"]
