"""The pages as a person meets them: in a real Chromium, with a keyboard, in light and dark, small and printed."""
