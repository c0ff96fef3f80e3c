"""Pictures of scenes of meshes with exact labels, by casting rays on a CPU."""
