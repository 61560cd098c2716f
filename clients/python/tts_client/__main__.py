"""`python -m tts_client` is the `tts` command."""

from tts_client.command import main

main()
