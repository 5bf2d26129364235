"""The studio in the browser: pages and the live view over the very services that the command line uses."""
