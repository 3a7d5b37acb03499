"""Contract suites and builders for tests. Run-time code never imports it."""
