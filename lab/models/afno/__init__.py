"""AFNO: token mixing in Fourier space, and FourCastNet made of it; see README.md."""
