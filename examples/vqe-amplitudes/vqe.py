"""A variational quantum eigensolver for a Heisenberg ring of 6 qubits in a field; its states have complex amplitudes.

Leaves the amplitudes of the state that was found, as text and as an array, and its energy. Needs numpy.
"""

import numpy as np

QUBITS, LAYERS, STEPS, RATE = 6, 2, 12, 0.08
PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def on(*gates):
    """Return the matrix of gates on qubits: (qubit, 2 x 2 matrix)."""
    whole = np.eye(1)
    for qubit in range(QUBITS):
        whole = np.kron(whole, dict(gates).get(qubit, np.eye(2)))
    return whole


def hamiltonian():
    ring = sum(on((q, gate), ((q + 1) % QUBITS, gate)) for q in range(QUBITS) for gate in PAULI)
    return ring + 0.3 * sum(on((q, PAULI[1])) for q in range(QUBITS))


def rotation(angle, gate):
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * gate


H = hamiltonian()
BITS = (np.arange(2**QUBITS)[:, None] >> np.arange(QUBITS)) & 1
LADDER = (-1.0) ** (BITS[:, :-1] * BITS[:, 1:]).sum(axis=1)


def state(angles):
    """Return the amplitudes behind the circuit: rotations about X and Z, then controlled-Z between neighbours."""
    psi = np.zeros(2**QUBITS, complex)
    psi[0] = 1
    for layer in angles:
        for gate, turns in zip(PAULI[::2], layer, strict=True):
            psi = on(*[(q, rotation(turns[q], gate)) for q in range(QUBITS)]) @ psi
        psi = LADDER * psi
    return psi


def energy(angles):
    psi = state(angles)
    return float((psi.conj() @ H @ psi).real)


def gradient(angles):
    """Parameter shift: exact derivatives from the energy at +- pi/2."""
    found = np.zeros_like(angles)
    for index in np.ndindex(angles.shape):
        shift = np.zeros_like(angles)
        shift[index] = np.pi / 2
        found[index] = (energy(angles + shift) - energy(angles - shift)) / 2
    return found


def main():
    angles = np.random.default_rng(6).uniform(-1, 1, (LAYERS, 2, QUBITS))
    for _ in range(STEPS):
        angles -= RATE * gradient(angles)
    psi = state(angles)
    np.save("state.npy", psi)
    with open("amplitudes.txt", "w") as file:
        file.write(f"# energy {energy(angles):.14f}\n")
        for number, one in enumerate(psi):
            file.write(f"{number:0{QUBITS}b} ({one.real:.15f}{one.imag:+.15f}j)\n")


main()
