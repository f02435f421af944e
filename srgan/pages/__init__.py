"""HTML pages: their templates and what several pages share, such as the viewer that zooms pictures together."""
