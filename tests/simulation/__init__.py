"""Whole lives of devices in one process, on one simulated clock, from one seed.

    python -m tests.simulation --seed 0 --lives 40 --years 5        (make simulate)

Everything of certagent is real, and so is the lab CA. Simulated are the clock, the network between the two, and the
power: a life is cut at random calls that change the disk, and goes on as after a boot.
"""
