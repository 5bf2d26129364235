"""`python -m greenroom` and the `greenroom` command. Knows nothing but where the commands are."""

from greenroom.cli.app import main

if __name__ == "__main__":
    main()
