"""From what a program has, such as a text, to the numbers that a model takes."""
