"""Programs that show Weft at work, and the data that they use."""
