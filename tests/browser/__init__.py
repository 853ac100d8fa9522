"""Tests of the pages in a real Chromium: by keyboard, in light and dark, on a small screen and printed."""
