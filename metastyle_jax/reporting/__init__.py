"""Tables, curves and contact sheets of what was measured."""
