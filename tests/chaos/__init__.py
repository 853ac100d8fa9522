"""The promises under fire: real workers, a real Redis and both services, killed and broken on a replayable schedule."""
