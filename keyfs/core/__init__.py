"""Pure decisions: names, key rings, stamps, staged writes, the tree. No I/O, no clock, no randomness."""
