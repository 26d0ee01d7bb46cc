"""Pictures of programs and measurements: SVG and HTML that need nothing else to be looked at."""
