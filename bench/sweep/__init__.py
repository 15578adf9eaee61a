"""Many runs at once: methods × datasets × presets × seeds × settings, on this machine or handed to a scheduler."""
