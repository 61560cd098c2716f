"""Groups of commands of `tts-service`. What they need to run is imported when they run."""
