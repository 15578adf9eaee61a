"""Methods and datasets as plug-ins: found by name, configured, begun from a template."""
