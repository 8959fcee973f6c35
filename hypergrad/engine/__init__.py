"""The engine: one step of a run, its tangent and its pullback, and runs forwards."""
