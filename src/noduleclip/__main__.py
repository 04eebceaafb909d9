"""`python -m noduleclip`."""

from noduleclip.cli import main

if __name__ == "__main__":
    main()
