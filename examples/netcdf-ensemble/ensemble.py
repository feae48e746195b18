"""A small weather ensemble: 24 members of the Lorenz-96 model, and an ensemble Kalman filter that takes in observations.

Leaves `ensemble.nc`: the mean, the spread, and the covariance of the last day. Needs numpy and netCDF4.
"""

import datetime
import socket

import netCDF4
import numpy as np

MEMBERS, SITES, DAYS, FORCING, STEP = 24, 120, 12, 8.0, 0.01


def tendency(x):
    return (np.roll(x, -1, 1) - np.roll(x, 2, 1)) * np.roll(x, 1, 1) - x + FORCING


def forecast(x):
    """Go on by six hours, by Runge and Kutta."""
    for _ in range(5):
        a = tendency(x)
        b = tendency(x + STEP / 2 * a)
        c = tendency(x + STEP / 2 * b)
        x = x + STEP / 6 * (a + 2 * b + 2 * c + tendency(x + STEP * c))
    return x


def analysed(x, observed, random):
    """Return the members drawn towards observations of every second site."""
    anomalies = x - x.mean(0)
    covariance = anomalies.T @ anomalies / (MEMBERS - 1)
    seen = np.eye(SITES)[::2]
    gain = covariance @ seen.T @ np.linalg.inv(seen @ covariance @ seen.T + np.eye(len(seen)))
    return x + (observed[::2] + random.standard_normal((MEMBERS, len(seen))) - x @ seen.T) @ gain.T, covariance


def main():
    random = np.random.default_rng(96)
    truth = FORCING + random.standard_normal((1, SITES))
    x = truth + random.standard_normal((MEMBERS, SITES))
    means, spreads = [], []
    for _ in range(DAYS):
        truth, x = forecast(truth), forecast(x)
        x, covariance = analysed(x, truth[0], random)
        means.append(x.mean(0))
        spreads.append(x.std(0))
    with netCDF4.Dataset("ensemble.nc", "w") as file:
        file.title = "Lorenz-96, 24 members"
        file.history = f"{datetime.datetime.now().isoformat()}: ensemble.py on {socket.gethostname()}"
        for name, size in (("time", DAYS), ("site", SITES), ("other", SITES)):
            file.createDimension(name, size)
        file.createVariable("mean", "f8", ("time", "site"), zlib=True)[:] = means
        file.createVariable("spread", "f8", ("time", "site"), zlib=True)[:] = spreads
        file.createVariable("covariance", "f8", ("site", "other"), zlib=True)[:] = covariance


main()
