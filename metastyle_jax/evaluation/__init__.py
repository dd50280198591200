"""How good stylised pictures are: measures that nothing is trained with."""
