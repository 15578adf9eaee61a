"""One HTML file that shows what was measured: tables, curves, pictures, volumes. It needs no network and no server."""
