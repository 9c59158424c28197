"""The same notes on other stacks, each written as its own documentation writes it."""
