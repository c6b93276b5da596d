"""Tests that drive a real Chromium; a package, so that its app and browser are closed before other tests begin."""
