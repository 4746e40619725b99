"""Real time, the real agent, nginx under load, and troubles from a seed: years of a device in minutes. `make soak`."""
