"""The command line: one module per noun, each a thin skin over the studio's services."""
