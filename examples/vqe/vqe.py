"""Variational quantum eigensolver for the transverse-field Ising chain H = -sum Z_i Z_{i+1} - sum X_i, 4 qubits.

The circuit is layers of Y rotations and a ladder of controlled-Z gates; the state vector is simulated exactly. Gradients
come from the parameter-shift rule, and a fixed number of plain gradient steps makes every run do the same work.
"""

import json

import numpy as np

QUBITS = 4
LAYERS = 3
STEPS = 240
RATE = 0.1

Z = np.array([1.0, -1.0])
X = np.array([[0.0, 1.0], [1.0, 0.0]])


def on(qubit, gate):
    """Return the 16 x 16 matrix of a gate on one qubit."""
    return np.kron(np.kron(np.eye(2**qubit), gate), np.eye(2 ** (QUBITS - qubit - 1)))


def hamiltonian():
    total = -sum(on(q, X) for q in range(QUBITS))
    return total - sum(on(q, np.diag(Z)) @ on(q + 1, np.diag(Z)) for q in range(QUBITS - 1))


def entangler():
    """Return the diagonal of a controlled-Z on each pair of neighbours."""
    bits = (np.arange(2**QUBITS)[:, None] >> np.arange(QUBITS)) & 1
    return (-1.0) ** (bits[:, :-1] * bits[:, 1:]).sum(axis=1)


H, CZ = hamiltonian(), entangler()


def energy(angles):
    """Return <psi|H|psi> of the circuit with these angles (layers x qubits)."""
    state = np.zeros((2,) * QUBITS)
    state[(0,) * QUBITS] = 1.0
    for layer in angles:
        for qubit, angle in enumerate(layer):
            cos, sin = np.cos(angle / 2), np.sin(angle / 2)
            state = np.moveaxis(np.tensordot(np.array([[cos, -sin], [sin, cos]]), state, (1, qubit)), 0, qubit)
        state = (state.ravel() * CZ).reshape((2,) * QUBITS)
    psi = state.ravel()
    return psi @ H @ psi


def gradient(angles):
    """Parameter shift: exact derivatives from the energy at +- pi/2."""
    result = np.zeros_like(angles)
    for index in np.ndindex(angles.shape):
        shift = np.zeros_like(angles)
        shift[index] = np.pi / 2
        result[index] = (energy(angles + shift) - energy(angles - shift)) / 2
    return result


def main():
    angles = np.full((LAYERS, QUBITS), 0.3) + 0.1 * np.arange(LAYERS * QUBITS).reshape(LAYERS, QUBITS)
    curve = []
    for step in range(STEPS + 1):
        if step % 20 == 0:
            curve.append({"step": step, "energy": float(energy(angles))})
        angles -= RATE * gradient(angles)
    exact = float(np.linalg.eigvalsh(H)[0])
    with open("energy.json", "w") as file:
        json.dump({"exact": exact, "curve": curve}, file, indent=2)
        file.write("\n")
    print(f"exact {exact:.4f}, found {curve[-1]['energy']:.4f}")


if __name__ == "__main__":
    main()
