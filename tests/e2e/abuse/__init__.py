"""What an app, or an operator's mistake, can do to a worker: each attack is played, and the work goes on."""
