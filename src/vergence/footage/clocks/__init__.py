"""What files beside videos say of the moments at which frames were taken."""
