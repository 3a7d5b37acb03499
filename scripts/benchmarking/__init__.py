"""What `scripts/bench` measures, against whom, and how: see README, "Performance"."""
