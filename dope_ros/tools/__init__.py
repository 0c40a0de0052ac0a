"""What goes with the node: demo, demo camera, recorder, poses for bags, benchmark, check."""
