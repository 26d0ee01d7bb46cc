"""The three ways to run a program: eager, lazy and static."""
